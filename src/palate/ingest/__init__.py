"""Files to catalogue: tables, checks, filters, and data sets that can be fetched."""
