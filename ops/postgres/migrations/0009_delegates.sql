-- Whose vote a delegate gave, in the status history; empty for everybody who acts for themself.
ALTER TABLE requests.history ADD COLUMN on_behalf_of text;
