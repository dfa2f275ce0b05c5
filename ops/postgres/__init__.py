"""The read side's database: numbered migrations, and what applies them."""
