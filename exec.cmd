@rem For Windows, whose shell has no `exec`: package.json starts programs with it, so that no shell stands between npm and them. Most
@rem shells do not pass on a signal that npm was sent.
@%*
