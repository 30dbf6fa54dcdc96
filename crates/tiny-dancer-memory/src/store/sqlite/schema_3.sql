-- What a judge was asked about, to find what comparisons have cost.
CREATE INDEX log_by_judged_time ON log (at, id) WHERE judge_name IS NOT NULL;
