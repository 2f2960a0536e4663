-- Digest of the base model's files that a judge's adapter was trained on: on others its verdicts mean
-- nothing. '' where no adapter judges.
ALTER TABLE safety_suite ADD COLUMN judge_base_sha256 TEXT NOT NULL DEFAULT '';
UPDATE safety_suite SET judge_base_sha256 = COALESCE((
  SELECT j.base_sha256 FROM adapter a JOIN job j ON j.id = a.job_id
  WHERE a.sha256 = safety_suite.judge_sha256 AND a.base_model = safety_suite.judge_base_model
  ORDER BY a.create_time DESC LIMIT 1), '')
WHERE judge_sha256 <> '';
