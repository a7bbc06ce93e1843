package text

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestHeatMap(t *testing.T) {
	nan := math.NaN()
	rows := []string{"q_proj", "v_proj", "down_proj"}
	cols := []string{"0", "1", "2", "3", "4", "5"}
	values := [][]float64{
		{0.010, 0.011, 0.012, 0.013, 0.014, 0.015},
		{0.020, nan, 0.022, 0.023, math.Inf(1), 0.025},
		{0.030, 0.031, 0.032, 0.033, 0.034},
	}
	tests := []struct {
		name string
		opts HeatMapOptions
		want string
	}{
		{"plain", HeatMapOptions{}, "" +
			"‖ΔW‖/‖W‖\n" +
			"          0 1 2 3 4 5\n" +
			"q_proj    0 0 0 1 1 2\n" +
			"v_proj    4 . 4 5 ! 6\n" +
			"down_proj 8 8 9 9 9 .\n" +
			"0  0.0100 .. 9  0.0340, . none\n"},
		{"unicode", HeatMapOptions{Unicode: true}, "" +
			"‖ΔW‖/‖W‖\n" +
			"          0 1 2 3 4 5\n" +
			"q_proj    ▁▁▁▁▁▁▁▁▂▂▂▂\n" +
			"v_proj    ▄▄· ▄▄▅▅! ▆▆\n" +
			"down_proj ▇▇▇▇██████·\n" +
			"▁▁ 0.0100 … ██ 0.0340, · none\n"},
	}
	for _, tt := range tests {
		if got := HeatMap("‖ΔW‖/‖W‖", rows, cols, values, tt.opts); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

// TestHeatMapSame: what differs by rounding only has one level.
func TestHeatMapSame(t *testing.T) {
	got := HeatMap("", []string{"a"}, []string{"0", "1", "2"}, [][]float64{{1, 1 - 1e-16, 1 + 4e-16}}, HeatMapOptions{})
	want := HeatMap("", []string{"a"}, []string{"0", "1", "2"}, [][]float64{{1, 1, 1}}, HeatMapOptions{})
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHeatMapColor(t *testing.T) {
	got := HeatMap("", []string{"a"}, []string{"0", "1"}, [][]float64{{1, 2}}, HeatMapOptions{Color: true, Unicode: true})
	want := "  0 1\n" +
		"a \x1b[48;5;17m  \x1b[0m\x1b[48;5;226m  \x1b[0m\n" +
		"\x1b[48;5;17m  \x1b[0m 1.00 … \x1b[48;5;226m  \x1b[0m 2.00\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestHeatMapFits draws models of any depth in terminals of any width: no line
// is wider than the terminal, but the legend may reach 72 characters.
func TestHeatMapFits(t *testing.T) {
	for _, layers := range []int{1, 30, 61, 80, 126, 1000} {
		values := make([][]float64, 2)
		cols := make([]string, layers)
		for j := range layers {
			cols[j] = fmt.Sprint(j)
			values[0] = append(values[0], math.Pow(10, -float64(j%7)))
			values[1] = append(values[1], math.NaN())
		}
		for _, width := range []int{40, 80, 200} {
			got := HeatMap("", []string{"mlp.experts.gate_up_proj", "x"}, cols, values, HeatMapOptions{Width: width})
			for line := range strings.Lines(got) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > max(width, 72) {
					t.Errorf("%d layers, width %d: line of %d: %q", layers, width, n, line)
				}
			}
			if layers == 1000 && !strings.Contains(got, "the mean of") {
				t.Errorf("grouped columns are not mentioned:\n%s", got)
			}
		}
	}
}

func TestHeatMapLogarithmic(t *testing.T) {
	got := HeatMap("", []string{"a"}, nil, [][]float64{{1e-3, 1e-2, 1e-1, 1}}, HeatMapOptions{})
	want := "a 0 3 6 9\n0  0.00100 .. 9  1.00, logarithmic\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestHeatMapOdd draws tables without values, rows or labels, and with labels
// that would reach the terminal.
func TestHeatMapOdd(t *testing.T) {
	nan := math.NaN()
	tests := []struct {
		name       string
		rows, cols []string
		values     [][]float64
		want       string
	}{
		{"nothing", nil, nil, nil, "no values\n"},
		{"all missing", []string{"a"}, []string{"0"}, [][]float64{{nan}}, "  0\na .\nno values\n"},
		{"no labels", nil, nil, [][]float64{{1}, {1}}, " 5\n 5\n5  1.00 .. 5  1.00\n"},
		{"hostile label", []string{"\x1b[2J"}, []string{"\r"}, [][]float64{{1}}, "          \"\\r\"\n\"\\x1b[2J\" 5\n5  1.00 .. 5  1.00\n"},
	}
	for _, tt := range tests {
		if got := HeatMap("", tt.rows, tt.cols, tt.values, HeatMapOptions{}); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
