-- What made the vectors ('embedder', 'dimensions'), and the next step of an erasure that is not finished ('erasing').
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value ANY
) STRICT, WITHOUT ROWID;

-- Remembered requests. Their verdicts are in a table of their own, since a row that grows later splits its page.
CREATE TABLE entries (
    entry INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,        -- 16 bytes
    created_at INTEGER NOT NULL,    -- Unix seconds
    tenant TEXT,
    user TEXT,
    metadata TEXT,                  -- a JSON object; NULL is an empty one
    prompt TEXT,
    embedding BLOB NOT NULL         -- f32, little-endian
) STRICT;
CREATE INDEX entries_by_time ON entries (created_at, id);
CREATE INDEX entries_by_user ON entries (tenant, user);

-- The verdict that counts, of an entry that has one.
CREATE TABLE verdicts (
    entry INTEGER PRIMARY KEY REFERENCES entries ON DELETE CASCADE,
    lightweight REAL NOT NULL,
    powerful REAL,
    source TEXT NOT NULL,
    at INTEGER                      -- Unix milliseconds
) STRICT;

-- The decision log. A float that is not a number is NULL.
CREATE TABLE log (
    entry INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,        -- 16 bytes
    at INTEGER NOT NULL,            -- Unix milliseconds
    tenant TEXT,
    user TEXT,
    conversation TEXT,
    model_version TEXT NOT NULL,
    embedder TEXT,
    mode TEXT,
    confidence REAL,
    uncertainty REAL,
    confidence_threshold REAL,
    max_uncertainty REAL,
    reason TEXT NOT NULL,
    decided TEXT NOT NULL,
    number INTEGER NOT NULL,        -- as a signed integer
    explore_probability REAL,
    explore INTEGER,                -- whether it happened; NULL where nothing was drawn
    shadow_probability REAL,
    shadow INTEGER,
    judge_probability REAL,
    judge INTEGER,
    audit_probability REAL,
    audit INTEGER,
    served TEXT,                    -- the model; NULL as long as it is not known
    usage TEXT,                     -- a JSON array of {model, input, cached_input, output}
    price_version TEXT,
    judge_name TEXT,
    lightweight REAL,               -- the verdict; NULL as long as there is none
    powerful REAL,
    source TEXT,
    verdict_at INTEGER              -- Unix milliseconds
) STRICT;
CREATE INDEX log_by_time ON log (at, id);
CREATE INDEX log_by_user ON log (tenant, user);
