-- GroupInfo of each audience's present epoch, as its last committer signed it: what a device needs to join again (K9).
CREATE TABLE audience_info (
  audience BLOB PRIMARY KEY NOT NULL REFERENCES audience (id),
  epoch INTEGER NOT NULL,
  group_info BLOB NOT NULL
) STRICT;

-- Handshakes up to this number are forgotten (K16): a device whose cursor lies before it cannot catch up.
CREATE TABLE audience_horizon (
  audience BLOB PRIMARY KEY NOT NULL REFERENCES audience (id),
  sequence INTEGER NOT NULL
) STRICT;

-- How far each device's MLS state had come when it was last seen (M7). It only rises.
CREATE TABLE device_state (
  device BLOB PRIMARY KEY NOT NULL,
  rejoin INTEGER NOT NULL,
  count INTEGER NOT NULL
) STRICT;
