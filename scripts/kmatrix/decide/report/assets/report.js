// Filters and searches on the pages of the report; without it every page can be read.
