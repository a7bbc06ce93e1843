package diff

import (
	"context"
	"os"
	"testing"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/lowrank"
)

func TestProf(t *testing.T) {
	dir := os.Getenv("PAIR")
	if dir == "" {
		t.Skip()
	}
	a, err := checkpoint.Open(dir+"/base", checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := checkpoint.Open(dir+"/tuned", checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rule, _ := lowrank.ParseRule(os.Getenv("RANK"))
	if _, err := Extract(context.Background(), a, b, ExtractOptions{Rank: lowrank.Rules{Rule: rule}}); err != nil {
		t.Fatal(err)
	}
}
