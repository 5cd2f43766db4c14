/**
 * cmd/cmd.h - the subcommands of hanse.  Each gets its own name as argv[0] and returns the exit status of the
 * program (0, or hanse_exit_status() of what went wrong; 64 for a wrong command line).
 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

int cmd_key(int argc, char **argv);
int cmd_host(int argc, char **argv);
int cmd_train(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_checkpoint(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_dht(int argc, char **argv);
int cmd_sim(int argc, char **argv);
int cmd_bench(int argc, char **argv);

#endif
