package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// byteChars writes each byte as a printable character, as GPT-2 does: printable
// Latin-1 as itself, the others in order from U+0100. Source: openai/gpt-2,
// encoder.py, bytes_to_unicode.
var byteChars = func() (chars [256]rune) {
	extra := rune(0x100)
	for b := range chars {
		if b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
			chars[b] = rune(b)
			continue
		}
		chars[b] = extra
		extra++
	}
	return chars
}()

// charBytes is the inverse of byteChars; -1 where a character stands for no byte.
var charBytes = func() (bytes [0x100 + 68]int16) {
	for i := range bytes {
		bytes[i] = -1
	}
	for b, c := range byteChars {
		bytes[c] = int16(b)
	}
	return bytes
}()

func bytesToChars(s string) string {
	var b strings.Builder
	b.Grow(len(s) + len(s)/4)
	for i := range len(s) {
		b.WriteRune(byteChars[s[i]])
	}
	return b.String()
}

// charsToBytes appends the bytes that a token stands for; a token with a
// character that stands for none is taken as it is.
func charsToBytes(dst []byte, token string) []byte {
	start := len(dst)
	for _, r := range token {
		if int(r) >= len(charBytes) || charBytes[r] < 0 {
			return append(dst[:start], token...)
		}
		dst = append(dst, byte(charBytes[r]))
	}
	return dst
}

// byteToken returns the byte that a token of the form <0x41> stands for.
func byteToken(token string) (byte, bool) {
	if len(token) != 6 || !strings.HasPrefix(token, "<0x") || token[5] != '>' {
		return 0, false
	}
	high, low := hexDigit(token[3]), hexDigit(token[4])
	return byte(high<<4 | low), high >= 0 && low >= 0
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// bytesOrReplacement returns bytes as text, or one U+FFFD for each of them if
// they are not UTF-8.
func bytesOrReplacement(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.Repeat("\uFFFD", len(b))
}
