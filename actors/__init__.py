"""motet on a Ray cluster: the only package that imports ray, and nothing but Ray lives here."""
