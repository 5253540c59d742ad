// Search summaries are fetched page by page, which browsers refuse when the book is opened as a file.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
