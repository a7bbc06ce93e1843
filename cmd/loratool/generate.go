package main

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train"
	"github.com/loratool/loratool/train/corpus"
)

type generateOptions struct {
	prompt      string
	prompts     string
	chat        bool
	maxTokens   int
	temperature float64
	topP        float64
	seed        uint64
	workers     int
	json        bool
}

func newGenerateCmd() *cobra.Command {
	var o generateOptions
	cmd := &cobra.Command{
		Use:        "generate BASE [ADAPTER]",
		Short:      "Continue a text with a base and an adapter, to see what was learned",
		SuggestFor: []string{"run", "sample", "complete", "chat"},
		Long: `generate continues a prompt with a base, or with an adapter on it, unmerged.
It runs on the CPU, with BF16 weights as training does, takes the most likely token each time unless
--temperature is given, and stops at the end of the text, after --max-tokens,
or when the base has no room left. The base is a folder with config.json and
tokenizer.json, of a model that can be trained (see loratool train --help).

` + exitHelp,
		Example: `  loratool generate ./base --prompt "Once upon a time"
  loratool generate ./base ./my-adapter --prompt "Once upon a time" --temperature 0.8 --seed 1`,
		Args: args(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runGenerate(cmd.Context(), args, o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.prompt, "prompt", "p", "", "text to continue; none: the base begins one")
	f.StringVar(&o.prompts, "prompts", "", "continue the member prompt of every line of this JSON Lines file, and print a line of JSON for each")
	f.BoolVar(&o.chat, "chat", false, "the prompt is what a user says: write it by the chat template of the base")
	f.IntVarP(&o.maxTokens, "max-tokens", "n", 256, "add at most so many tokens; 0: until the base has no room left")
	f.Float64Var(&o.temperature, "temperature", 0, "sample with this temperature; 0: take the most likely token")
	f.Float64Var(&o.topP, "top-p", 1, "sample from the most likely tokens that together have this probability")
	f.Uint64Var(&o.seed, "seed", 0, "seed of the sampling")
	f.IntVar(&o.workers, "threads", 0, "threads (default: all)")
	f.BoolVar(&o.json, "json", false, "print one JSON object: text, tokens, seconds")
	return cmd
}

type generateReport struct {
	Prompt  string  `json:"prompt"`
	Text    string  `json:"text"` // added to the prompt
	IDs     []int32 `json:"ids"`
	Tokens  int     `json:"tokens"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"tokens_per_second"`
}

func runGenerate(ctx context.Context, args []string, o generateOptions, stdout io.Writer) error {
	if o.prompt != "" && o.prompts != "" {
		return usagef("--prompt and --prompts are two sources of prompts: give one")
	}
	model, text, closeAll, err := loadModel(args, threads(o.workers))
	defer closeAll()
	if err != nil {
		return err
	}
	g := generator{model, text, o, stdout}
	if o.prompts != "" {
		return g.file(ctx)
	}
	if !o.json {
		return g.show(ctx)
	}
	r, err := g.report(ctx, o.prompt)
	if err != nil {
		return err
	}
	return printJSON(stdout, r)
}

// A generator continues prompts.
type generator struct {
	model  *train.Model
	text   *corpus.Text
	o      generateOptions
	stdout io.Writer
}

func (g *generator) sampling() train.Sampling {
	return train.Sampling{MaxTokens: g.o.maxTokens, Temperature: g.o.temperature, TopP: g.o.topP, Seed: g.o.seed, Stops: g.text.Stops()}
}

// show prints a text while it grows.
func (g *generator) show(ctx context.Context) error {
	prompt, err := g.text.Prompt(g.o.prompt, g.o.chat)
	if err != nil {
		return err
	}
	out := &continuation{t: g.text, ids: prompt, w: g.stdout}
	if g.o.chat {
		out.shown = len(g.text.Decode(prompt, true))
	}
	s := g.sampling()
	s.Added = out.add
	if _, err := g.model.Generate(ctx, prompt, s); err != nil {
		return err
	}
	return out.end()
}

// report continues one prompt.
func (g *generator) report(ctx context.Context, prompt string) (r generateReport, err error) {
	ids, err := g.text.Prompt(prompt, g.o.chat)
	if err != nil {
		return r, err
	}
	start := time.Now()
	added, err := g.model.Generate(ctx, ids, g.sampling())
	took := time.Since(start).Seconds()
	before := g.text.Decode(ids, true)
	after := g.text.Decode(append(ids[:len(ids):len(ids)], added...), true)
	return generateReport{prompt, strings.TrimPrefix(after, before), append([]int32{}, added...), len(added), took, float64(len(added)) / took}, err
}

// file continues every prompt of a file and prints a line of JSON for each.
func (g *generator) file(ctx context.Context) error {
	prompts, err := corpus.ReadPrompts(g.o.prompts)
	if err != nil {
		return err
	}
	for _, p := range prompts {
		r, err := g.report(ctx, p)
		if err != nil {
			return err
		}
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if _, err := g.stdout.Write(append(text.EscapeJSON(line), '\n')); err != nil {
			return err
		}
	}
	return nil
}
