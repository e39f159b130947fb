-- How far each device came with the newest bundle that it spoke of (B10).
CREATE TABLE policy_state (
  device BLOB PRIMARY KEY NOT NULL,
  version INTEGER NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  active INTEGER NOT NULL,
  at_s INTEGER NOT NULL
) STRICT;
