-- What the queries use. Made after the load. Where pg_trgm is there, a trigram index on the titles comes on top.

CREATE INDEX movies_title ON movies (lower(title) text_pattern_ops);
CREATE INDEX movies_rating ON movies (rating DESC, movie_id) WHERE rating IS NOT NULL;
CREATE INDEX movies_country_year ON movies (country, year, rating DESC);
CREATE INDEX movies_year ON movies (year);
CREATE INDEX movies_meta ON movies USING gin (meta jsonb_path_ops);
CREATE INDEX movies_words ON movies USING gin (words);
CREATE INDEX movie_cast_actor ON movie_cast (actor_id, movie_id);
CREATE INDEX comments_movie ON comments (movie_id, written_at DESC);
CREATE INDEX view_log_movie ON view_log (imdb_id, viewed_at DESC);
CREATE INDEX votes_movie ON votes (movie_id, vote);
