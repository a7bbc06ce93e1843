package text

import "strconv"

// Quote returns a name from a file as it may be shown on a terminal: as it is
// when every rune is a letter, mark, digit, punctuation, symbol or plain
// space, and in double quotes with ASCII escapes when not. Control characters,
// invalid UTF-8, bidirectional and zero-width characters are thus never
// printed, nor is a name that looks quoted or empty taken for something else.
func Quote(name string) string {
	if name == "" || name[0] == '"' || name[0] == ' ' || name[len(name)-1] == ' ' {
		return strconv.QuoteToASCII(name)
	}
	for _, r := range name {
		if !strconv.IsPrint(r) || r == '\uFFFD' {
			return strconv.QuoteToASCII(name)
		}
	}
	return name
}
