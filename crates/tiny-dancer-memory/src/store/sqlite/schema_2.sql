-- The ticket of a decision whose answer is to be judged, and whether a judge has found it worse. The draw is in judge_probability
-- and judge.
ALTER TABLE log ADD COLUMN slot INTEGER;
ALTER TABLE log ADD COLUMN generation INTEGER;
ALTER TABLE log ADD COLUMN found_worse INTEGER;    -- NULL as long as no judge has judged it
CREATE INDEX log_by_ticket ON log (generation) WHERE generation > 0;

-- The account of the quality budget: one row, or none.
CREATE TABLE account (
    account INTEGER PRIMARY KEY CHECK (account = 1),
    delta REAL NOT NULL,
    least_judge_rate REAL,          -- NULL where each answer is judged
    answered INTEGER NOT NULL,
    certain INTEGER NOT NULL,
    sampled INTEGER NOT NULL,
    entered INTEGER NOT NULL,
    next_generation INTEGER NOT NULL,
    judged INTEGER NOT NULL,
    worse INTEGER NOT NULL,
    expired INTEGER NOT NULL,
    boldness REAL NOT NULL,
    worse_losses REAL NOT NULL,
    predicted_losses REAL NOT NULL,
    tickets BLOB NOT NULL           -- 21 bytes each, little-endian: slot (4), generation (8), deadline (8), state (1)
) STRICT;
