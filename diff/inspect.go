package diff

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/internal/mmap"
)

// A MeasuredModule is a module with its measure.
type MeasuredModule struct {
	*adapter.Module
	Measure
}

// MeasureAdapter measures every module, on all processors.
func MeasureAdapter(ctx context.Context, a *adapter.Adapter, o Options) ([]MeasuredModule, error) {
	result := make([]MeasuredModule, len(a.Modules))
	errs := make([]error, len(a.Modules))
	var work sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, m := range a.Modules {
		work.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			result[i].Module = m
			fault := mmap.Guard(func() { result[i].Measure, errs[i] = MeasureModule(m, o) })
			errs[i] = cmp.Or(errs[i], fault)
		})
	}
	work.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return result, a.Unchanged()
}

// A Grid arranges modules by layer and place, for a picture.
type Grid struct {
	Layers []int
	Places []string // what follows the layer's number in the paths
	cells  map[[2]int]int
}

// NewGrid arranges module paths. Paths without a number are left out.
func NewGrid(paths []string) *Grid {
	g := &Grid{cells: map[[2]int]int{}}
	layers, places := map[int]bool{}, map[string]bool{}
	for _, p := range paths {
		if layer, place, ok := splitLayer(p); ok {
			layers[layer], places[place] = true, true
		}
	}
	for l := range layers {
		g.Layers = append(g.Layers, l)
	}
	for p := range places {
		g.Places = append(g.Places, p)
	}
	slices.Sort(g.Layers)
	slices.SortFunc(g.Places, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "."), strings.Count(b, ".")), cmp.Compare(a, b))
	})
	for i, p := range paths {
		if layer, place, ok := splitLayer(p); ok {
			row, _ := slices.BinarySearch(g.Layers, layer)
			g.cells[[2]int{slices.Index(g.Places, place), row}] = i
		}
	}
	return g
}

// splitLayer takes a path apart at its first number.
func splitLayer(path string) (layer int, place string, ok bool) {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		if n, err := strconv.Atoi(p); err == nil && i+1 < len(parts) {
			return n, strings.Join(parts[i+1:], "."), true
		}
	}
	return 0, "", false
}

// Values returns value(i) of the path at each place (rows) and layer
// (columns), and missing where there is none.
func (g *Grid) Values(missing float64, value func(i int) float64) [][]float64 {
	rows := make([][]float64, len(g.Places))
	for p := range rows {
		rows[p] = make([]float64, len(g.Layers))
		for l := range rows[p] {
			rows[p][l] = missing
			if i, ok := g.cells[[2]int{p, l}]; ok {
				rows[p][l] = value(i)
			}
		}
	}
	return rows
}
