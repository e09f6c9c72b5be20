"""Captures as Parquet files, for data lakes and data frames."""
