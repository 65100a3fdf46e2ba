"""The steps by which the database's schema came to be, each run once, by Alembic."""
