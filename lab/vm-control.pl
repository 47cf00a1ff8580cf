#!/usr/bin/perl
# lab-control PORT runs the commands that the lab sends over a serial port, one at a time, as root: see control.go, which is
# the other end. It needs neither the network nor a disk that answers once it runs, since faults take both away.
#
# Each message is a letter, a session, a length, and so many bytes. From the lab: R, a command's words, each ended by a null;
# I, its input; E, the end of its input. To the lab: O and M, what it wrote to its output and its error output; X, its status.
use strict;
use warnings;
use Fcntl;
use POSIX qw(:sys_wait_h setsid);

my ($port) = @ARGV;
until (-e $port) { select undef, undef, undef, 0.2 }
open(my $line, '+<', $port) or die "$port: $!\n";
fcntl($line, F_SETFL, O_NONBLOCK);
$SIG{PIPE} = 'IGNORE';
$SIG{CHLD} = sub { };    # ends the select

my $received = '';
my $job;                 # what runs: session, pid, in, out, err, input, closing
my $alone = 0;           # for how many looks in a row nobody was at the other end

while (1) {
    my ($read, $write) = ('', '');
    vec($read, fileno $line, 1) = 1;
    if ($job) {
        vec($read, fileno $job->{$_}, 1) = 1 for grep { $job->{$_} } qw(out err);
        vec($write, fileno $job->{in}, 1) = 1 if $job->{in} && length $job->{input};
    }
    select $read, $write, undef, 0.05;
    my $n = sysread $line, my $bytes, 65536;
    $alone = 0 unless defined $n && !$n;
    if ($n) {
        $received .= $bytes;
        take() while length $received >= 9 && length $received >= 9 + unpack 'x5N', $received;
    }
    elsif (defined $n) {    # nobody at the other end: the select cannot wait for that to change
        # That somebody came or went reaches the kernel by another queue than the bytes (virtio's control queue), so when the next command runs
        # already, its sender may still count as gone. Two seconds of nobody are an end.
        if (++$alone > 40) {
            $received = '';
            drop();
        }
        1 while waitpid(-1, WNOHANG) > 0;
        select undef, undef, undef, 0.05;
    }
    work() if $job;
}

# take does what the next message says.
sub take {
    my ($kind, $session, $size) = unpack 'aNN', $received;
    my $content = substr $received, 9, $size;
    substr $received, 0, 9 + $size, '';
    if ($kind eq 'R') {
        drop();
        start($session, split /\0/, substr($content, 0, -1), -1);
    }
    return unless $job && $job->{session} == $session && $job->{in};
    $job->{input} .= $content if $kind eq 'I';
    $job->{closing} = 1 if $kind eq 'E';
}

sub start {
    my ($session, @words) = @_;
    pipe(my $in, my $in2);
    pipe(my $out2, my $out);
    pipe(my $err2, my $err);
    my $pid;
    for (1 .. 20) {    # a fault may have taken all the processes
        last if defined($pid = fork);
        select undef, undef, undef, 0.1;
    }
    if (!defined $pid) {
        send_message('M', $session, "lab-control: fork: $!\n");
        send_message('X', $session, 126);
        return;
    }
    if (!$pid) {
        setsid();
        $SIG{$_} = 'DEFAULT' for qw(PIPE CHLD);
        if (open my $score, '>', '/proc/self/oom_score_adj') { print $score "0\n" }
        POSIX::dup2(fileno $in, 0);
        POSIX::dup2(fileno $out, 1);
        POSIX::dup2(fileno $err, 2);
        POSIX::close($_) for map { fileno $_ } $in, $in2, $out, $out2, $err, $err2, $line;
        %ENV = (PATH => '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME => '/root', LANG => 'C.UTF-8', TERM => 'dumb');
        chdir '/';
        exec { $words[0] } @words or print STDERR "lab-control: $words[0]: $!\n";
        POSIX::_exit(127);
    }
    close $_ for $in, $out, $err;
    fcntl($_, F_SETFL, O_NONBLOCK) for $in2, $out2, $err2;
    $job = { session => $session, pid => $pid, in => $in2, out => $out2, err => $err2, input => '' };
}

# work passes on what came in and out, and the status once the command has ended, whoever else still holds its output.
sub work {
    my $ended = waitpid($job->{pid}, WNOHANG) == $job->{pid} ? $? : undef;
    for (['out', 'O'], ['err', 'M']) {
        my ($stream, $kind) = @$_;
        while ($job->{$stream}) {
            my $n = sysread $job->{$stream}, my $bytes, 32768;
            next if !defined $n && $!{EINTR};    # a child has ended
            last unless defined $n;
            if ($n) { send_message($kind, $job->{session}, $bytes) }
            else { delete $job->{$stream} }
        }
    }
    if ($job->{in} && length $job->{input}) {
        my $n = syswrite $job->{in}, $job->{input};
        if (defined $n) { substr $job->{input}, 0, $n, '' }
        elsif (!$!{EAGAIN}) { delete $job->{in} }
    }
    delete $job->{in} if $job->{closing} && !length $job->{input};
    return unless defined $ended;
    send_message('X', $job->{session}, $ended & 127 ? 128 + ($ended & 127) : $ended >> 8);
    undef $job;
}

# drop ends the command that runs: the lab has lost interest.
sub drop {
    return unless $job;
    kill 'KILL', -$job->{pid};
    undef $job;
}

sub send_message {
    my ($kind, $session, $content) = @_;
    my $message = pack('aNN', $kind, $session, length $content) . $content;
    while (length $message) {
        my $n = syswrite $line, $message;
        if ($n) { substr $message, 0, $n, ''; next }
        return unless $!{EAGAIN};
        my $write = '';
        vec($write, fileno $line, 1) = 1;
        select undef, $write, undef, 1 or return;    # nobody reads
    }
}
