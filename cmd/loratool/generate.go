package main

import (
	"context"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/train"
	"github.com/loratool/loratool/train/corpus"
)

type generateOptions struct {
	prompt      string
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
It runs on the CPU in float32, takes the most likely token each time unless
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
	f.BoolVar(&o.chat, "chat", false, "the prompt is what a user says: write it by the chat template of the base")
	f.IntVarP(&o.maxTokens, "max-tokens", "n", 256, "add at most so many tokens; 0: until the base has no room left")
	f.Float64Var(&o.temperature, "temperature", 0, "sample with this temperature; 0: take the most likely token")
	f.Float64Var(&o.topP, "top-p", 1, "sample from the most likely tokens that together have this probability")
	f.Uint64Var(&o.seed, "seed", 0, "seed of the sampling")
	f.IntVar(&o.workers, "workers", runtime.GOMAXPROCS(0), "threads")
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
	model, text, closeAll, err := loadModel(args, o.workers)
	defer closeAll()
	if err != nil {
		return err
	}
	prompt, err := text.Prompt(o.prompt, o.chat)
	if err != nil {
		return err
	}
	out := &continuation{t: text, ids: prompt, w: stdout}
	sampling := train.Sampling{MaxTokens: o.maxTokens, Temperature: o.temperature, TopP: o.topP, Seed: o.seed, Stops: text.Stops()}
	if !o.json {
		if !o.chat {
			out.shown = 0
		} else {
			out.shown = len(text.Decode(prompt, true))
		}
		sampling.Added = out.add
	}
	start := time.Now()
	added, err := model.Generate(ctx, prompt, sampling)
	if err != nil {
		return err
	}
	if !o.json {
		return out.end()
	}
	took := time.Since(start).Seconds()
	before := text.Decode(prompt, true)
	after := text.Decode(append(prompt[:len(prompt):len(prompt)], added...), true)
	return printJSON(stdout, generateReport{o.prompt, strings.TrimPrefix(after, before), append([]int32{}, added...), len(added), took, float64(len(added)) / took})
}

// loadModel opens a base, maybe an adapter, and the base's tokenizer. What it
// opened is closed by closeAll, on an error too.
func loadModel(args []string, workers int) (m *train.Model, t *corpus.Text, closeAll func(), err error) {
	var open []io.Closer
	closeAll = func() {
		for _, c := range open {
			c.Close()
		}
	}
	base, err := checkpoint.Open(args[0], openOptions())
	if err != nil {
		return nil, nil, closeAll, err
	}
	open = append(open, base)
	var a *dialect.File
	if len(args) > 1 {
		found, err := checkpoint.Locate(args[1], openOptions())
		if err != nil {
			return nil, nil, closeAll, err
		}
		if a, err = dialect.Open(found); err != nil {
			return nil, nil, closeAll, err
		}
		open = append(open, a)
	}
	if t, err = corpus.Open(base.Dir()); err != nil {
		return nil, nil, closeAll, err
	}
	m, err = train.Load(base, a, workers)
	return m, t, closeAll, err
}

// A continuation prints a text as it grows.
type continuation struct {
	t     *corpus.Text
	ids   []int32
	shown int // bytes of the decoded text that are printed
	w     io.Writer
}

// add prints what a token adds to the text. Bytes that may be the beginning
// of a character wait for the rest of it.
func (c *continuation) add(id int32) error {
	c.ids = append(c.ids, id)
	whole := c.t.Decode(c.ids, true)
	if strings.HasSuffix(whole, "\uFFFD") || len(whole) < c.shown {
		return nil
	}
	_, err := io.WriteString(c.w, terminalSafe(whole[c.shown:]))
	c.shown = len(whole)
	return err
}

// end prints what is left and ends the line.
func (c *continuation) end() error {
	whole := c.t.Decode(c.ids, true)
	_, err := io.WriteString(c.w, terminalSafe(whole[min(c.shown, len(whole)):])+"\n")
	return err
}

// terminalSafe leaves out control characters, which a model can write too.
func terminalSafe(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7F && r < 0xA0 || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 {
			return -1
		}
		return r
	}, s)
}
