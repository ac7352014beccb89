"""Tables as CSV, Parquet and AnnData."""
