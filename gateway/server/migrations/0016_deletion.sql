-- Receipts of deletion (D3): until when the hours have one, and whether the last ones found everything gone.
CREATE TABLE deletion_receipt (
  end_s INTEGER PRIMARY KEY NOT NULL,
  wrong INTEGER NOT NULL
) STRICT;
