package text

// EscapeJSON replaces what is not printable ASCII in a JSON text by escapes, so
// that no control character, direction or zero-width character of a name
// reaches a terminal. Line breaks between values stay.
func EscapeJSON(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, c := range string(b) {
		switch {
		case c < 0x7F:
			out = append(out, byte(c))
		case c > 0xFFFF:
			c -= 0x10000
			out = appendEscape(appendEscape(out, 0xD800+c>>10), 0xDC00+c&0x3FF)
		default:
			out = appendEscape(out, c)
		}
	}
	return out
}

func appendEscape(b []byte, c rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[c>>12&15], digits[c>>8&15], digits[c>>4&15], digits[c&15])
}
