"""Music composed by rule, the texts that describe it, and its rendering with sampled instruments."""
