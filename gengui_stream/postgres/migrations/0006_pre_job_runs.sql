-- Of a `cancel` job for one run at a provider, whose id no state has any more.
ALTER TABLE jobs.jobs ADD COLUMN run_provider text, ADD COLUMN run_endpoint_id text, ADD COLUMN run_job_id text;
