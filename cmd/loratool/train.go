package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/binding"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/publish"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train"
)

type trainOptions struct {
	train.Options
	base, data, eval, output string
	method, schedule, init   string
	warmup, config           string
	deviceOptions
	progress       string
	alpha          float64
	resume, dryRun bool
	json, force    bool
}

func newTrainCmd() *cobra.Command {
	o := trainOptions{Options: train.Defaults()}
	cmd := &cobra.Command{
		Use:        "train --base BASE --data FILE -o ADAPTER",
		Short:      "Train an adapter and prove that its merge is the trained model",
		SuggestFor: []string{"finetune", "fine-tune", "fit"},
		Long: `train trains a LoRA adapter, or what the LoRA paper compares it with, for a
Llama, Mistral, Qwen2, Qwen3, SmolLM or GPT-2 in a Hugging Face folder. FILE has
one JSON object a line: {"prompt", "completion"}, {"text"}, {"messages"} or
{"input_ids", "labels"}. Only completions and answers are learned.

Defaults are those of PEFT's LoraConfig and of the Hugging Face trainer. The
same options give the same adapter bytes for any number of threads. Beside the
output stand OUTPUT.state, from which --resume goes on bit for bit after an
interruption, OUTPUT.metrics.jsonl and at the end OUTPUT.html with its curves.

At the end the adapter is read again and merged into a copy of the base, and
the logits of both are held against those of the trained model; a difference is
a failure.

Methods other than lora write a folder of their own kind: ft and bitfit merge
into the base, preembed, prelayer and adapterh work beside it (loratool
generate).

` + exitHelp,
		Example: `  loratool train --base ./SmolLM2-135M --data train.jsonl -o ./my-adapter --rank 16 --targets all-linear
  loratool train --base ./SmolLM2-135M --data train.jsonl -o ./my-adapter --dry-run`,
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.readConfig(cmd.Flags()); err != nil {
				return err
			}
			if err := o.parse(cmd.Flags().Changed); err != nil {
				return err
			}
			if o.elsewhere() && !o.dryRun {
				return runSibling()
			}
			return runTrain(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func runTrain(ctx context.Context, o trainOptions, stdout, stderr io.Writer) error {
	if o.dryRun {
		return o.printEstimate(stdout)
	}
	base, err := checkpoint.Open(o.base, openOptions())
	if err != nil {
		return err
	}
	defer base.Close()
	if err := o.checkOutput(); err != nil {
		return err
	}
	t, err := o.prepare(ctx, base, stderr)
	if err != nil {
		return err
	}
	r, err := o.run(ctx, t, stderr)
	if err != nil {
		return err
	}
	if !t.Done() {
		done, all := t.Steps()
		fmt.Fprintf(stderr, "loratool: stopped after step %d of %d; %s goes on with --resume\n", done, all, text.Quote(o.state()))
		if o.json {
			r.Output, r.State, r.Steps = "", o.state(), done
			return printJSON(stdout, r)
		}
		return nil
	}
	notes := func(a *adapter.Adapter) (map[string]string, error) { return bound(ctx, a, base, binding.Options{}) }
	inputs, err := o.inputs()
	if err != nil {
		return err
	}
	if err := t.Write(o.output, train.WriteOptions{Base: idOf(o.base), Force: o.force, Inputs: inputs, Notes: notes}); err != nil {
		return err
	}
	proof, err := o.prove(ctx, t, base)
	if err != nil {
		return err
	}
	r.Proof = proof
	if err := o.writePage(r); err != nil {
		return err
	}
	if err := os.Remove(o.state()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if o.json {
		return printJSON(stdout, r)
	}
	r.print(stdout)
	return nil
}

func (o *trainOptions) state() string   { return o.output + ".state" }
func (o *trainOptions) page() string    { return o.output + ".html" }
func (o *trainOptions) metrics() string { return o.output + ".metrics.jsonl" }

// inputs returns the paths that an output must not touch.
func (o *trainOptions) inputs() (paths []string, err error) {
	for _, id := range o.models() {
		path, err := checkpoint.Locate(id, openOptions())
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	paths = append(paths, o.data)
	if o.eval != "" {
		paths = append(paths, o.eval)
	}
	return paths, nil
}

// models names the base and the adapter that the run begins with, if there is
// one.
func (o *trainOptions) models() []string {
	if o.Init == "adapter" {
		return []string{o.base, o.init}
	}
	return []string{o.base}
}

// checkOutput refuses an output that could not be written at the end.
func (o *trainOptions) checkOutput() error {
	inputs, err := o.inputs()
	if err != nil {
		return err
	}
	if err := publish.CheckDir(o.output, o.force, inputs...); err != nil {
		return err
	}
	for _, path := range []string{o.state(), o.metrics(), o.page()} {
		if err := publish.CheckFile(path, true, inputs...); err != nil {
			return err
		}
	}
	_, err = os.Stat(o.state())
	switch {
	case err == nil && !o.resume && !o.force:
		return fmt.Errorf("%s is there from a run that stopped: --resume goes on with it, --force begins anew", text.Quote(o.state()))
	case err != nil && o.resume:
		return fmt.Errorf("nothing to resume: %w", err)
	}
	return nil
}

// threads is the number of goroutines where the flag does not say.
func threads(n int) int {
	if n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}
