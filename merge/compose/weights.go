package compose

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
)

// ModuleWeights are weights for the modules whose name matches a glob, one for
// each adapter, which multiply those of the adapters.
type ModuleWeights struct {
	Glob    string
	Weights []float64
}

// ParseWeights reads a file of module weights for n adapters: on each line a
// glob and n numbers, separated by blanks; # starts a comment. The first line
// that matches a module decides.
func ParseWeights(data []byte, n int) ([]ModuleWeights, error) {
	var list []ModuleWeights
	lines := bufio.NewScanner(bytes.NewReader(data))
	for number := 1; lines.Scan(); number++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		w := ModuleWeights{Glob: fields[0]}
		if _, err := path.Match(w.Glob, ""); err != nil {
			return nil, fmt.Errorf("line %d: glob %q is not closed", number, w.Glob)
		}
		if len(fields) != n+1 {
			return nil, fmt.Errorf("line %d: %d weights for %d adapters", number, len(fields)-1, n)
		}
		for _, f := range fields[1:] {
			x, err := strconv.ParseFloat(f, 64)
			if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
				return nil, fmt.Errorf("line %d: %q is not a finite number", number, f)
			}
			w.Weights = append(w.Weights, x)
		}
		list = append(list, w)
	}
	return list, lines.Err()
}
