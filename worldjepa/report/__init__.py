"""Pages that are one HTML file: text, tables and plots that load nothing, on a phone, in print, and by keyboard."""
