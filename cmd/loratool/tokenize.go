package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train/corpus"
)

type tokenizeOptions struct {
	data   string
	maxLen int
	lines  bool
	json   bool
}

func newTokenizeCmd() *cobra.Command {
	var o tokenizeOptions
	cmd := &cobra.Command{
		Use:   "tokenize BASE [TEXT]...",
		Short: "Show texts and training data as the tokens that a base sees",
		Long: `tokenize shows what the tokenizer.json of a base makes of texts, and with
--data how training sees a file: how many samples and tokens, how many of them
are learned, which line is longest, and the first sample with what is learned
in brackets. Lines of the file are {"prompt", "completion"}, {"text"},
{"messages"} (by the chat template of the base) or {"input_ids"[, "labels"]}.

With --json-lines each line of standard input is a JSON string to encode or an
object with messages to render, and each line of output answers one.

` + exitHelp,
		Example: `  loratool tokenize ./base "Once upon a time"
  loratool tokenize ./base --data train.jsonl`,
		Args: args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runTokenize(args[0], args[1:], o, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "show this file of samples")
	f.IntVar(&o.maxLen, "max-len", 1024, "count the samples of --data that have more tokens")
	f.BoolVar(&o.lines, "json-lines", false, "read JSON from standard input, a line each")
	f.BoolVar(&o.json, "json", false, "print JSON: a list with an object for each text, or one object for --data")
	return cmd
}

func runTokenize(base string, texts []string, o tokenizeOptions, stdin io.Reader, stdout io.Writer) error {
	modes := 0
	for _, set := range [...]bool{o.data != "", o.lines, len(texts) > 0} {
		if set {
			modes++
		}
	}
	if modes != 1 {
		return usagef("tokenize takes texts, --data or --json-lines, one of them")
	}
	dir, err := checkpoint.Locate(base, openOptions())
	if err != nil {
		return err
	}
	t, err := corpus.Open(dir)
	switch {
	case err != nil:
		return err
	case o.lines:
		return tokenizeLines(t, stdin, stdout)
	case o.data != "":
		return tokenizeData(t, o, stdout)
	}
	return tokenizeTexts(t, texts, o, stdout)
}

func tokenizeLines(t *corpus.Text, stdin io.Reader, stdout io.Writer) error {
	lines := bufio.NewScanner(stdin)
	lines.Buffer(nil, 64<<20)
	w := bufio.NewWriter(stdout)
	var out []byte
	for lines.Scan() {
		out = t.AppendJSON(out[:0], lines.Bytes())
		if _, err := w.Write(text.EscapeJSON(out)); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	return w.Flush()
}

func tokenizeTexts(t *corpus.Text, texts []string, o tokenizeOptions, stdout io.Writer) error {
	if o.json {
		all := make([]corpus.Encoded, len(texts))
		for i, s := range texts {
			all[i] = t.Encoded(s)
		}
		return printJSON(stdout, all)
	}
	for _, s := range texts {
		ids := t.Encode(s, true)
		fmt.Fprintf(stdout, "%d tokens\n", len(ids))
		for _, id := range ids {
			token, _ := t.Token(id)
			fmt.Fprintf(stdout, "%8d  %s\n", id, text.Quote(token))
		}
	}
	return nil
}

func tokenizeData(t *corpus.Text, o tokenizeOptions, stdout io.Writer) error {
	samples, err := t.ReadFile(o.data)
	if err != nil {
		return err
	}
	s, first := samples.Summary(o.maxLen), t.Show(samples, 0)
	if o.json {
		return printJSON(stdout, struct {
			corpus.Summary
			First []corpus.Stretch `json:"first"`
		}{s, first})
	}
	fmt.Fprintf(stdout, "samples  %d\ntokens   %d, %d learned\nlongest  %d tokens, line %d\n", s.Samples, s.Tokens, s.Learned, s.Longest.Tokens, s.Longest.Line)
	if s.Over > 0 {
		fmt.Fprintf(stdout, "over     %d samples have more than %d tokens\n", s.Over, o.maxLen)
	}
	var b strings.Builder
	for _, p := range first {
		if p.Learned {
			b.WriteString("[" + p.Text + "]")
		} else {
			b.WriteString(p.Text)
		}
	}
	fmt.Fprintf(stdout, "first    %s\n", text.Quote(b.String()))
	return nil
}
