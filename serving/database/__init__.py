"""The gateway's database: tables, migrations and connections, for SQLite and PostgreSQL."""
