// Command hostmend says what is wrong with a Linux host, how bad it is, what proves it and what would mend it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hostmend/hostmend/checks"
	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/report"
)

// version is set by the linker.
var version = "unknown"

// gcPercent lets the heap grow to five times what is in use before it is collected, for a call lasts a second: loading 93 playbooks took
// 41 ms of CPU with it and 68 ms with the default of 100. memoryLimit ends that early, so that with the program's own pages the whole stays
// below 48 MiB: with 320 playbooks a diagnosis takes 46 MiB, and without it 58. At 32 the collector took a sixth more CPU. It is a wish,
// not a wall: a host with 50,000 sockets gets what it takes.
const (
	gcPercent   = 400
	memoryLimit = 35 << 20
)

func main() {
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := (&program{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Environ()}).run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// The exit codes.
const (
	exitOK          = 0
	exitFound       = 1   // findings at or above --fail-on
	exitFailed      = 2   // hostmend itself failed, or was called wrongly
	exitUnchecked   = 4   // nothing found, but not everything could be checked, or nothing applies here
	exitInterrupted = 130 // as shells have it: 128 + SIGINT
)

// exitCode ends a command that has said what it had to say.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit status %d", int(c)) }

// program is one call of hostmend and what it talks to.
type program struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            []string
	// Host is the machine that is looked at; nil: this one.
	Host host.Host

	log     *zap.Logger
	checks  *checks.Set // that --checks names; nil: none
	lang    string
	verbose bool
}

// run carries out a command line and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.command()
	root.SetArgs(args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	err := root.ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(p.Stderr, "hostmend: interrupted")
		return exitInterrupted
	default:
		fmt.Fprintln(p.Stderr, "hostmend: "+report.CleanLines(err.Error()))
		return exitFailed
	}
}

// command is the tree of commands. A new one is a constructor in a file of its own and a line here.
func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use:     "hostmend",
		Version: version,
		Short:   "Say what is wrong with a Linux host, and what would mend it",
		Long: `hostmend looks at a Linux host, judges what it sees by playbooks, and says what is wrong, how bad it is,
the values that prove it, and what would mend it. It changes nothing.`,
		Example:       "  hostmend diagnose\n  hostmend diagnose -o json --fail-on warning\n  hostmend probe memory",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			p.log = p.logger()
			return p.checkLang()
		},
	}
	root.SetVersionTemplate("hostmend {{.Version}}\n")
	root.PersistentFlags().StringVar(&p.lang, "lang", "", "language of texts for people: en or zh (default from LC_ALL, LC_MESSAGES, LANG)")
	root.PersistentFlags().BoolVarP(&p.verbose, "verbose", "v", false, "say on stderr what is done")
	complete(root, "lang", "en", "zh")
	root.AddCommand(
		diagnoseCommand(p),
		replayCommand(p),
		captureCommand(p),
		factsCommand(p),
		latencyCommand(p),
		probeCommand(p),
		playbookCommand(p),
		checkCommand(p),
		versionCommand(p),
	)
	return root
}

// logger writes to stderr with --verbose, and nowhere without.
func (p *program) logger() *zap.Logger {
	if !p.verbose {
		return zap.NewNop()
	}
	config := zap.NewDevelopmentEncoderConfig()
	config.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(config), zapcore.AddSync(p.Stderr), zap.DebugLevel))
}

func versionCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.Stdout, "hostmend "+version)
			return err
		},
	}
}

// getenv looks a variable up in the environment that the program was given.
func (p *program) getenv(name string) string {
	for _, e := range p.Env {
		if k, v, _ := strings.Cut(e, "="); k == name {
			return v
		}
	}
	return ""
}

// complete lets the shell complete a flag's value.
func complete(c *cobra.Command, flag string, values ...string) {
	// It fails only for a flag that does not exist, which the first call of any command would show.
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(toCompletions(values), cobra.ShellCompDirectiveNoFileComp))
}

func toCompletions(values []string) []cobra.Completion {
	out := make([]cobra.Completion, len(values))
	copy(out, values)
	return out
}
