package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/internal/strictjson"
	"github.com/loratool/loratool/train"
)

func (o *trainOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.base, "base", "", "`path` or id of the base")
	f.StringVar(&o.data, "data", "", "JSON Lines `file` of samples")
	f.StringVar(&o.eval, "eval", "", "JSON Lines `file` of held-out samples")
	f.StringVarP(&o.output, "output", "o", "", "`path` of the adapter to write")
	f.StringVar(&o.config, "config", "", "JSON `file` of flags, such as {\"rank\": 16, \"lr\": 1e-4}; the command line goes first")
	f.StringVar(&o.method, "method", string(train.LoRA), "`what` is trained: lora, ft, bitfit, preembed, prelayer or adapterh")

	f.IntVar(&o.Rank, "rank", o.Rank, "rank of the updates (PEFT: 8)")
	f.Float64Var(&o.alpha, "alpha", o.Alpha, "alpha; updates are scaled by alpha/rank (PEFT: 8)")
	f.StringSliceVar(&o.Targets, "targets", nil, "`linears` to adapt by name, or all-linear (PEFT: q_proj,v_proj; c_attn for GPT-2)")
	f.Float64Var(&o.Dropout, "dropout", 0, "dropout before A (PEFT: 0)")
	f.BoolVar(&o.RsLoRA, "rslora", false, "scale by alpha/√rank")
	f.BoolVar(&o.DoRA, "dora", false, "train magnitudes of rows too (DoRA)")
	f.Float64Var(&o.LoRAPlus, "lora-plus", o.LoRAPlus, "learning rate of B over that of A (LoRA+)")
	f.StringVar(&o.init, "init", o.Init, "`start` of A and B: default (A random, B zero), pissa, written as an ordinary adapter of twice the rank, or the path of an adapter")
	f.IntVar(&o.Prefix, "prefix", o.Prefix, "special tokens before the text (preembed, prelayer)")
	f.IntVar(&o.Infix, "infix", 0, "special tokens between prompt and completion")
	f.IntVar(&o.Bottleneck, "bottleneck", o.Bottleneck, "width of the adapters (adapterh)")

	f.Float64Var(&o.Epochs, "epochs", o.Epochs, "passes over the samples (HF: 3)")
	f.IntVar(&o.Steps, "steps", 0, "optimizer steps, in place of --epochs")
	f.Float64Var(&o.LR, "lr", o.LR, "learning rate (HF: 5e-5)")
	f.StringVar(&o.schedule, "schedule", string(o.Schedule), "`course` of the learning rate: linear, cosine or constant (HF: linear)")
	f.StringVar(&o.warmup, "warmup", "0", "`steps` of warmup, or a share such as 3% (HF: 0)")
	f.Float64Var(&o.WeightDecay, "weight-decay", 0, "decoupled weight decay (HF: 0)")
	f.Float64Var(&o.Clip, "clip", o.Clip, "largest norm of the gradient, 0 for any (HF: 1)")
	f.Float64Var(&o.Smoothing, "label-smoothing", 0, "label smoothing (HF: 0)")
	f.IntVar(&o.Batch, "batch", o.Batch, "sequences at a time (HF: 8)")
	f.IntVar(&o.Accumulate, "accumulate", o.Accumulate, "batches of a step, every token of which counts the same (HF: 1)")
	f.IntVar(&o.MaxLen, "max-len", o.MaxLen, "`tokens` of a sample; longer ones are cut")
	f.BoolVar(&o.Pack, "pack", false, "fill batches up to batch × max-len tokens; samples do not see each other")
	f.BoolVar(&o.NoShuffle, "no-shuffle", false, "take the samples in the order of the file")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "`number` that starts all randomness (HF: 42)")

	f.IntVar(&o.SaveEvery, "save-every", o.SaveEvery, "steps between saves of the state, 0 for none (HF: 500)")
	f.IntVar(&o.EvalEvery, "eval-every", 0, "steps between evaluations; the last step is always evaluated")
	f.IntVar(&o.StopAt, "stop-at", 0, "save the state and stop after this `step`, to be resumed")
	f.BoolVar(&o.resume, "resume", false, "go on with the state of a run that stopped")
	o.deviceOptions.addFlags(f)
	f.IntVar(&o.Workers, "threads", 0, "threads (default: all)")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be trained and how much memory it takes, from the config alone")
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	f.BoolVar(&o.force, "force", false, "replace an output that exists")
	f.StringVar(&o.progress, "progress", "auto", "`when` to show progress: auto, plain or off")
}

// readConfig sets the flags of the config that the command line does not.
func (o *trainOptions) readConfig(f *pflag.FlagSet) error {
	if o.config == "" {
		return nil
	}
	data, err := readNamed(o.config)
	if err != nil {
		return err
	}
	v, err := strictjson.Decode(data)
	if err != nil || v.Kind != strictjson.Object {
		return usagef("--config %q: not an object of flags: %v", o.config, err)
	}
	for _, m := range v.Members {
		flag := f.Lookup(m.Name)
		if flag == nil || m.Name == "config" {
			return usagef("--config %q: %q is no flag of train", o.config, m.Name)
		}
		if flag.Changed {
			continue
		}
		if err := f.Set(m.Name, flagText(m.Value)); err != nil {
			return usagef("--config %q: %q: %v", o.config, m.Name, err)
		}
	}
	return nil
}

// flagText is a JSON value as it would be written on the command line.
func flagText(v strictjson.Value) string {
	switch v.Kind {
	case strictjson.Bool:
		return strconv.FormatBool(v.True)
	case strictjson.Array:
		var list []string
		for _, e := range v.Elements {
			list = append(list, flagText(e))
		}
		return strings.Join(list, ",")
	}
	return v.Text
}

// flagMethods are the methods that read a flag that not all do.
var flagMethods = map[string][]train.Method{
	"rank": {train.LoRA}, "alpha": {train.LoRA}, "targets": {train.LoRA}, "dropout": {train.LoRA}, "rslora": {train.LoRA},
	"dora": {train.LoRA}, "lora-plus": {train.LoRA}, "init": {train.LoRA},
	"prefix": {train.PreEmbed, train.PreLayer}, "infix": {train.PreEmbed, train.PreLayer},
	"bottleneck": {train.AdapterH},
}

// parse checks the flags and turns words into types.
func (o *trainOptions) parse(set func(string) bool) (err error) {
	switch {
	case o.base == "":
		return usagef("no base: --base BASE names the folder of a model")
	case o.output == "" && !o.dryRun:
		return usagef("no output: -o ADAPTER names the folder to write")
	case o.data == "" && !o.dryRun:
		return usagef("no data: --data FILE names a JSON Lines file of samples")
	case set("steps") && set("epochs"):
		return usagef("--steps and --epochs contradict each other")
	}
	if o.Device, err = o.deviceOptions.parse(set); err != nil {
		return err
	}
	o.Method, o.Schedule, o.Alpha = train.Method(o.method), train.Schedule(o.schedule), o.alpha
	for _, name := range slices.Sorted(maps.Keys(flagMethods)) {
		if methods := flagMethods[name]; set(name) && !slices.Contains(methods, o.Method) && slices.Contains(train.Methods, o.Method) {
			return usagef("--%s has no effect with --method %s", name, o.method)
		}
	}
	if o.Init = o.init; o.Init != "default" && o.Init != "pissa" {
		o.Init = "adapter"
	}
	if share, ok := strings.CutSuffix(o.warmup, "%"); ok {
		o.WarmupShare, err = strconv.ParseFloat(share, 64)
		o.WarmupShare /= 100
	} else {
		o.Warmup, err = strconv.ParseFloat(o.warmup, 64)
	}
	if err != nil {
		return usagef("--warmup %q: expected steps, or a share such as 3%%", o.warmup)
	}
	if slices.Contains(o.Targets, "") || set("targets") && len(o.Targets) == 0 {
		return usagef("--targets: a name is empty")
	}
	if _, err := progress.ParseMode(o.progress); err != nil {
		return usageError{err}
	}
	o.Workers = threads(o.Workers)
	if err := o.Check(); err != nil {
		return usageError{err}
	}
	return nil
}
