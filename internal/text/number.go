// Package text turns numbers, names and small tables into what people read in
// a terminal: sizes, counts, quoted names, near names, heat maps. It never
// writes anywhere and knows no file formats.
package text

import (
	"math"
	"strconv"
)

// Bytes formats a size as people read it: "999 B", "13.1 MB". Units are
// powers of 1000.
func Bytes(n int64) string {
	if n > -1000 && n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	return scaled(n, "kMGTPE") + "B"
}

// Count formats a number of things as people read it: "999", "3.4 M". Units
// are powers of 1000: k, M, B (billion), T.
func Count(n int64) string {
	if n > -1000 && n < 1000 {
		return strconv.FormatInt(n, 10)
	}
	return scaled(n, "kMBT")
}

// scaled formats |n| ≥ 1000 with one decimal and a unit; a number that would
// round up to 1000.0 moves to the next unit.
func scaled(n int64, units string) string {
	x := float64(n) / 1000
	unit := 0
	for unit+1 < len(units) && math.Round(math.Abs(x)*10) >= 10000 {
		x /= 1000
		unit++
	}
	return strconv.FormatFloat(x, 'f', 1, 64) + " " + units[unit:unit+1]
}

// Percent formats a share in [0, 1]: "99.2 %". A share below one is never
// shown as 100.0 %, one above zero never as 0.0 %.
func Percent(share float64) string {
	switch {
	case math.IsNaN(share):
		return "n/a"
	case share < 1 && share >= 0.9995:
		return ">99.9 %"
	case share > 0 && share < 0.0005:
		return "<0.1 %"
	}
	return strconv.FormatFloat(share*100, 'f', 1, 64) + " %"
}

// Ratio formats a quotient of any magnitude with three significant digits:
// "0.0123", "1.20e-05".
func Ratio(x float64) string {
	a := math.Abs(x)
	switch {
	case math.IsNaN(x):
		return "n/a"
	case math.IsInf(x, 0):
		return strconv.FormatFloat(x, 'g', -1, 64)
	case a != 0 && (a < 1e-4 || a >= 1e6):
		return strconv.FormatFloat(x, 'e', 2, 64)
	case a >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'f', decimals(a), 64)
}

// decimals returns how many decimals show three significant digits of a in
// [0, 100).
func decimals(a float64) int {
	n := 2
	for ; a != 0 && a < 1 && n < 7; a *= 10 {
		n++
	}
	if a >= 10 {
		n--
	}
	return n
}
