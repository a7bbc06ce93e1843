package train

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
)

// With a fixed seed the shares of 20,000 draws are within 0.02 of the
// probabilities: four standard deviations of 0.0035 and more.
func TestDraw(t *testing.T) {
	const draws = 20_000
	for _, c := range []struct {
		p    float64
		want []float64
	}{
		{0, []float64{0.1, 0.4, 0.2, 0.3, 0}},
		{1, []float64{0.1, 0.4, 0.2, 0.3, 0}},
		{0.6, []float64{0, 4. / 7, 0, 3. / 7, 0}},
		{0.01, []float64{0, 1, 0, 0, 0}},
	} {
		counts := make([]float64, 5)
		r := newStream(1, streamSample, 0)
		for range draws {
			counts[draw([]float64{1, 4, 2, 3, 0}, c.p, r)]++
		}
		for i, n := range counts {
			if math.Abs(n/draws-c.want[i]) > 0.02 || (c.want[i] == 0) != (n == 0) {
				t.Errorf("top-p %g: token %d has share %g, want %g", c.p, i, n/draws, c.want[i])
			}
		}
	}
}

func TestGenerate(t *testing.T) {
	m, err := Load(storiesBase(t), nil, 2)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	greedy, err := m.Generate(ctx, []int32{1}, Sampling{MaxTokens: 40})
	if err != nil || len(greedy) != 40 || greedy[0] != 403 {
		t.Fatalf("greedy %v, %v", greedy, err)
	}
	// Each token is the most likely one of a pass over the whole text, too:
	// the cache of keys and values changes nothing.
	text := append([]int32{1}, greedy...)
	logits, err := m.Logits(text)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range greedy {
		row := logits[i*m.Vocab() : (i+1)*m.Vocab()]
		if got := int32(slices.Index(row, slices.Max(row))); got != want {
			t.Errorf("token %d is %d, the whole text gives %d", i, want, got)
		}
	}
	stopped, err := m.Generate(ctx, []int32{1}, Sampling{Stops: []int32{greedy[7]}})
	if err != nil || !slices.Equal(stopped, greedy[:slices.Index(greedy, greedy[7])]) {
		t.Errorf("with a stop: %v, %v", stopped, err)
	}
	cold, err := m.Generate(ctx, []int32{1}, Sampling{MaxTokens: 40, Temperature: 1e-6, Seed: 3})
	if err != nil || !slices.Equal(cold, greedy) {
		t.Errorf("a temperature near 0: %v, %v", cold, err)
	}
	warm, err := m.Generate(ctx, []int32{1}, Sampling{MaxTokens: 40, Temperature: 1, TopP: 0.9, Seed: 3})
	again, _ := m.Generate(ctx, []int32{1}, Sampling{MaxTokens: 40, Temperature: 1, TopP: 0.9, Seed: 3})
	if err != nil || slices.Equal(warm, greedy) || !slices.Equal(warm, again) {
		t.Errorf("sampled %v, %v, %v", warm, again, err)
	}
	whole, err := m.Generate(ctx, []int32{1}, Sampling{})
	if err != nil || len(whole) != m.Context()-1 {
		t.Errorf("without a limit %d tokens, %v", len(whole), err)
	}
}

func TestGenerateRefuses(t *testing.T) {
	m, err := Load(storiesBase(t), nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Generate(canceled, []int32{1}, Sampling{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	for _, c := range []struct {
		name   string
		prompt []int32
		o      Sampling
	}{
		{"no prompt", nil, Sampling{}},
		{"long prompt", make([]int32, 600), Sampling{}},
		{"unknown token", []int32{5000}, Sampling{}},
		{"temperature", []int32{1}, Sampling{Temperature: math.NaN()}},
		{"top-p", []int32{1}, Sampling{TopP: 1.5}},
		{"max-tokens", []int32{1}, Sampling{MaxTokens: -1}},
	} {
		if _, err := m.Generate(context.Background(), c.prompt, c.o); err == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
}
