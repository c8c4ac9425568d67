-- 0018_post_fair_share.sql was 0014 before its release: it is applied again, after the `pre` files of that release.
DELETE FROM migrations.applied WHERE name = '0014_post_fair_share.sql';
