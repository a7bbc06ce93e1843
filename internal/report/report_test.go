package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

// wellFormed reads a page as XML, but for the doctype and the tags of HTML
// that are never closed.
func wellFormed(t *testing.T, page []byte) {
	t.Helper()
	page = bytes.TrimPrefix(page, []byte("<!DOCTYPE html>\n"))
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = true, []string{"meta"}, xml.HTMLEntity
	d.Strict = false
	depth := 0
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v in %.300s", err, page)
		}
		switch token.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		}
	}
	if depth != 0 {
		t.Errorf("%d elements are not closed", depth)
	}
}

func page() *Page {
	p := New("<script>alert(1)</script>", "a & b \x1b[31m")
	p.Facts(Fact{"share", "97.4 %"})
	p.Section("Map", "")
	p.HeatMap([]string{"q_proj", `"><img>`}, []string{"0", "1"}, [][]float64{{1e-5, math.NaN()}, {0.5, math.Inf(1)}})
	p.Curves(Axes{X: "rank", Y: "energy", LogX: true, FromZero: true, Top: 1}, []Series{
		{"layer 0 & more", "q_proj", []float64{1, 2, 4}, []float64{0.5, 0.7, math.NaN()}}, {"x", "<b>", []float64{1, 8}, []float64{0.1, 0.9}}})
	p.Table([]string{"module", "error"}, [][]string{{"<i>", "0.1"}})
	p.List([]string{"</ul>"})
	return p
}

// TestPage checks that names from files cannot become markup, that nothing is
// loaded from elsewhere and that elements nest.
func TestPage(t *testing.T) {
	got := page().Bytes()
	wellFormed(t, got)
	for _, bad := range []string{"<script", "<img", "<b>", "<i>", "\x1b", "http://", "https://", "url(", "NaN", "Inf"} {
		if bytes.Contains(got, []byte(bad)) {
			t.Errorf("the page holds %q", bad)
		}
	}
	for _, want := range []string{"prefers-color-scheme: dark", "@media print", "&lt;script&gt;", "<polyline", "97.4 %"} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("the page does not hold %q", want)
		}
	}
	if !bytes.Equal(got, page().Bytes()) {
		t.Error("two pages of the same differ")
	}
}

func TestNoValues(t *testing.T) {
	p := New("t", "l")
	p.HeatMap([]string{"a"}, []string{"b"}, [][]float64{{math.NaN()}})
	p.Curves(Axes{}, nil)
	if strings.Contains(string(p.Bytes()), "<svg") {
		t.Error("a picture of nothing")
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		a    axis
		want []float64
	}{
		{axis{low: 0, high: 1}, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
		{axis{low: 1, high: 144, log: true}, []float64{1, 2, 5, 10, 20, 50, 100}},
		{axis{low: 1e-6, high: 1, log: true}, []float64{1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1}},
		{axis{low: 3, high: 3}, []float64{3}},
	} {
		got := ticks(c.a)
		if !slices.EqualFunc(got, c.want, func(x, y float64) bool { return math.Abs(x-y) < 1e-9*math.Max(1e-9, y) || x == y }) {
			t.Errorf("%+v: %v, want %v", c.a, got, c.want)
		}
	}
}

func TestColor(t *testing.T) {
	for at, want := range map[float64]string{0: "#440154", 1: "#fde725", 0.5: "#21908d", -1: "#440154", 7: "#fde725"} {
		if got := color(at); got != want {
			t.Errorf("color(%v) = %s, want %s", at, got, want)
		}
	}
}

func ExampleNew() {
	p := New("What changed", "base → tuned")
	p.Facts(Fact{"carried", "97.4 %"})
	fmt.Println(strings.Contains(string(p.Bytes()), "<dd>97.4 %</dd>"))
	// Output: true
}
