/* cmd/main.c - the hanse program: finds the subcommand and runs it. */
int main(void)
{
    return 0;
}
