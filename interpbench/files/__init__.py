"""What is read and written: TOML, CSV, folders with a record, versions."""
