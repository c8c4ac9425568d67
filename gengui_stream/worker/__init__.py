"""Workers: the reference one (`gengui-stream worker`), and the client with which your own reports to the log."""
