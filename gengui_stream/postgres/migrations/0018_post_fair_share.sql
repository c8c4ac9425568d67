-- The processes of earlier releases claim by `available_at` alone.
DROP INDEX CONCURRENTLY IF EXISTS jobs.jobs_due;
