package text

import (
	"fmt"
	"strconv"
	"strings"
)

// byteUnits are the units that ParseBytes knows, longest first where one ends
// in another.
var byteUnits = []struct {
	suffix string
	bytes  float64
}{
	{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"TIB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// ParseBytes reads a size such as "5GB", "512MiB" or "1000"; decimal units
// are powers of 1000, as the Hugging Face hub counts.
func ParseBytes(s string) (int64, error) {
	number, unit := strings.ToUpper(strings.TrimSpace(s)), 1.0
	for _, u := range byteUnits {
		if n, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(n), u.bytes
			break
		}
	}
	x, err := strconv.ParseFloat(number, 64)
	if err != nil || !(x >= 0) || x*unit >= 1<<62 {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return int64(x * unit), nil
}
