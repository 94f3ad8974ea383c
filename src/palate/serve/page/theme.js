// Sets the chosen theme before anything is painted; loaded as a plain script for that reason.
"use strict";
try {
  const theme = localStorage.getItem("palate-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden; the system's preference holds then.
}
