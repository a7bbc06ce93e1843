package names

import (
	"cmp"
	"strings"
)

// compareNatural orders names as transformers does before it collects the
// tensors of a list (dot_natural_key): component by component, numbers by
// value and before text, text by its letters and then by the number it ends
// with.
func compareNatural(a, b string) int {
	for {
		x, restA, moreA := strings.Cut(a, ".")
		y, restB, moreB := strings.Cut(b, ".")
		if c := compareComponent(x, y); c != 0 {
			return c
		}
		if !moreA || !moreB {
			return cmp.Compare(boolInt(moreA), boolInt(moreB))
		}
		a, b = restA, restB
	}
}

func compareComponent(x, y string) int {
	textX, numberX := splitNumber(x)
	textY, numberY := splitNumber(y)
	isNumberX, isNumberY := textX == "" && x != "", textY == "" && y != ""
	if isNumberX != isNumberY {
		return cmp.Compare(boolInt(isNumberY), boolInt(isNumberX))
	}
	if c := cmp.Compare(textX, textY); c != 0 {
		return c
	}
	return compareNumber(numberX, numberY)
}

func splitNumber(s string) (text, number string) {
	text = strings.TrimRight(s, "0123456789")
	return text, s[len(text):]
}

// compareNumber compares decimal numbers of any length; no number comes first.
func compareNumber(x, y string) int {
	if c := cmp.Compare(boolInt(x != ""), boolInt(y != "")); c != 0 {
		return c
	}
	x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
	if c := cmp.Compare(len(x), len(y)); c != 0 {
		return c
	}
	return cmp.Compare(x, y)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
