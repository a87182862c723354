"""Analysis over frames: a `Reducer` that adds up a stream, exactly once, whatever dies."""
