# failhard: False stands at every state: where a site's master has it on, a failed deploy would not be recorded.
# A deploy, step by step; each step for every app that the call is for, and an app that fails stops no other. With bad
# settings or an unfit host an app has only the first step: it says what is wrong, and nothing is touched.
include:
  - globoapp.settings
  - globoapp.tree
  - globoapp.packages
  - globoapp.app
  - globoapp.service
  - globoapp.health
  - globoapp.record
  - globoapp.monitor
