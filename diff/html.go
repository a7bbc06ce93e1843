package diff

// ExtractHTML renders a report.
func ExtractHTML(r ExtractReport, base, tuned string) []byte { return nil }
