"""Access control: the tables are the specification, and a route that isn't in one of them fails a test."""

from types import SimpleNamespace

import pytest
from django.db import transaction
from django.db.models.functions import Now
from django.test import Client
from rest_framework.test import APIClient

from delivery.models import Delivery
from fulfillment.models import Fulfillment, HeldCode
from fulfillment.setup import submit
from fulfillment.sources.web_service.models import WebService
from licensing import models as licensing
from licensing.creation import create_license, create_licensee
from merchants.models import ApiKey, Member, User
from merchants.team import invite
from orders.models import ActivationCode, Order, OrderEvent, Refund
from outbound.models import MailAccount, OutgoingRequest
from pools.models import KeyBatch
from pools.uploads import begin
from portal.test_orders.placing import send_test_order
from portal.tests.routes import fill, routes
from shops.connecting import connect
from webhooks.models import WebhookEndpoint
from webhooks.sending import send_test

pytestmark = pytest.mark.django_db

# Pages. Columns: an anonymous visitor, a customer with an order's link, the merchant's support, manager and owner,
# the owner of another merchant, and support staff. “login” is a redirect to the sign-in page.
PAGES = """
                                                            anonymous customer support manager owner outsider staff
GET  /                                                      login     login    302     200     200   200      302
GET  search/                                                login     login    200     200     200   200      403
POST search/                                                login     login    200     200     200   200      403
POST first-steps/hide/                                      login     login    403     302     302   302      403
GET  orders/                                                login     login    200     200     200   200      403
POST orders/                                                login     login    302     302     302   200      403
GET  orders.csv                                             login     login    200     200     200   200      403
GET  attention/                                             login     login    200     200     200   200      403
GET  attention/<slug:slug>/                                 login     login    200     200     200   404      403
GET  attention/<slug:slug>/fix/                             login     login    404     404     404   404      403
POST attention/<slug:slug>/fix/                             login     login    404     404     404   404      403
GET  attention/<slug:slug>/dealt-with/                      login     login    200     200     200   404      403
POST attention/<slug:slug>/dealt-with/                      login     login    200     200     200   404      403
GET  attention/<slug:slug>/<int:thing>/dealt-with/          login     login    405     405     405   404      403
POST attention/<slug:slug>/<int:thing>/dealt-with/          login     login    302     302     302   404      403
GET  refused-reports/                                       login     login    200     200     200   200      403
GET  orders/<reference:number>/                             login     login    200     200     200   404      403
GET  orders/<reference:number>/address/                     login     login    200     200     200   404      403
POST orders/<reference:number>/address/                     login     login    302     302     302   404      403
GET  orders/<reference:number>/address/resend/              login     login    200     200     200   404      403
POST orders/<reference:number>/address/resend/              login     login    302     302     302   404      403
GET  orders/<reference:number>/resend/                      login     login    200     200     200   404      403
GET  orders/<reference:number>/emails/<int:delivery>/       login     login    200     200     200   404      403
GET  orders/<reference:number>/emails/<int:delivery>/frame/ login     login    200     200     200   404      403
POST orders/<reference:number>/resend/                      login     login    302     302     302   404      403
GET  orders/<reference:number>/items/<int:item>/resend/     login     login    409     409     409   404      403
POST orders/<reference:number>/items/<int:item>/resend/     login     login    409     409     409   404      403
GET  orders/<reference:number>/retry/                       login     login    405     405     405   404      403
POST orders/<reference:number>/retry/                       login     login    409     409     409   404      403
GET  orders/<reference:number>/refund/                      login     login    200     200     200   404      403
POST orders/<reference:number>/refund/                      login     login    302     302     302   404      403
GET  orders/<reference:number>/reinstate/                   login     login    409     409     409   404      403
POST orders/<reference:number>/reinstate/                   login     login    409     409     409   404      403
GET  orders/<reference:number>/approve/                     login     login    409     409     409   404      403
POST orders/<reference:number>/approve/                     login     login    409     409     409   404      403
GET  orders/<reference:number>/map/                         login     login    405     405     405   404      403
POST orders/<reference:number>/map/                         login     login    409     409     409   404      403
GET  orders/<reference:number>/link/renew/                  login     login    200     200     200   404      403
POST orders/<reference:number>/link/renew/                  login     login    302     302     302   404      403
GET  orders/<reference:number>/link/revoke/                 login     login    200     200     200   404      403
POST orders/<reference:number>/link/revoke/                 login     login    302     302     302   404      403
GET  orders/<reference:number>/codes/<int:code>/resend/     login     login    200     200     200   404      403
POST orders/<reference:number>/codes/<int:code>/resend/     login     login    302     302     302   404      403
GET  orders/<reference:number>/codes/<int:code>/replace/    login     login    200     200     200   404      403
POST orders/<reference:number>/codes/<int:code>/replace/    login     login    302     302     302   404      403
GET  orders/<reference:number>/codes/<int:code>/return/     login     login    200     200     200   404      403
POST orders/<reference:number>/codes/<int:code>/return/     login     login    409     409     409   404      403
GET  orders/<reference:number>/items/<int:item>/reserve/    login     login    200     200     200   404      403
POST orders/<reference:number>/items/<int:item>/reserve/    login     login    409     409     409   404      403
GET  orders/<reference:number>/codes/<int:code>/reveal/     login     login    405     405     405   404      403
POST orders/<reference:number>/codes/<int:code>/reveal/     login     login    200     200     200   404      403
GET  orders/<reference:number>/items/<int:item>/retry/      login     login    405     405     405   404      403
POST orders/<reference:number>/items/<int:item>/retry/      login     login    302     302     302   404      403
GET  orders/<reference:number>/items/<int:item>/codes/      login     login    200     200     200   404      403
POST orders/<reference:number>/items/<int:item>/codes/      login     login    302     302     302   404      403
GET  orders/<reference:number>/held/<int:held>/release/     login     login    200     200     200   404      403
POST orders/<reference:number>/held/<int:held>/release/     login     login    302     302     302   404      403
GET  orders/<reference:number>/held/<int:held>/refuse/      login     login    200     200     200   404      403
POST orders/<reference:number>/held/<int:held>/refuse/      login     login    302     302     302   404      403

GET  test-data/                                             login     login    405     405     405   405      403
POST test-data/                                             login     login    302     302     302   302      403
GET  test-data/delete/                                      login     login    403     200     200   200      403
POST test-data/delete/                                      login     login    403     302     302   302      403

GET  pools/                                                 login     login    403     200     200   200      403
GET  pools/add/                                             login     login    403     200     200   200      403
POST pools/add/                                             login     login    403     302     302   302      403
GET  pools/reconciliation/                                  login     login    403     200     200   200      403
GET  pools/<int:pk>/ledger/                                 login     login    403     200     200   404      403
GET  pools/<int:pk>/                                        login     login    403     200     200   404      403
GET  pools/<int:pk>/settings/                               login     login    403     200     200   404      403
POST pools/<int:pk>/settings/                               login     login    403     302     302   404      403
GET  pools/<int:pk>/keys/                                   login     login    403     200     200   404      403
POST pools/<int:pk>/keys/                                   login     login    403     302     302   404      403
GET  pools/<int:pk>/keys/<int:key>/withdraw/                login     login    403     200     200   404      403
POST pools/<int:pk>/keys/<int:key>/withdraw/                login     login    403     302     302   404      403
GET  pools/<int:pk>/import/                                 login     login    403     200     200   404      403
POST pools/<int:pk>/import/                                 login     login    403     302     302   404      403
GET  pools/<int:pk>/imports/<int:number>/                   login     login    403     200     200   404      403
GET  pools/<int:pk>/imports/<int:number>/read/              login     login    403     405     405   404      403
POST pools/<int:pk>/imports/<int:number>/read/              login     login    403     302     302   404      403
GET  pools/<int:pk>/imports/<int:number>/confirm/           login     login    403     405     405   404      403
POST pools/<int:pk>/imports/<int:number>/confirm/           login     login    403     302     302   404      403
GET  pools/<int:pk>/imports/<int:number>/discard/           login     login    403     200     200   404      403
POST pools/<int:pk>/imports/<int:number>/discard/           login     login    403     302     302   404      403
GET  pools/<int:pk>/batches/                                login     login    403     200     200   404      403
GET  pools/<int:pk>/batches/<int:number>/undo/              login     login    403     200     200   404      403
POST pools/<int:pk>/batches/<int:number>/undo/              login     login    403     302     302   404      403
GET  pools/<int:pk>/batches/<int:number>/withdraw/          login     login    403     200     200   404      403
POST pools/<int:pk>/batches/<int:number>/withdraw/          login     login    403     302     302   404      403
GET  pools/<int:pk>/upload-links/end/                       login     login    403     200     200   404      403
POST pools/<int:pk>/upload-links/end/                       login     login    403     302     302   404      403

GET  products/                                              login     login    403     200     200   200      403
GET  products/add/                                          login     login    403     200     200   200      403
POST products/add/                                          login     login    403     302     302   302      403
GET  products/<int:pk>/                                     login     login    403     200     200   404      403
GET  products/<int:pk>/change/                              login     login    403     200     200   404      403
POST products/<int:pk>/change/                              login     login    403     302     302   404      403
POST products/<int:pk>/sources/                             login     login    403     302     302   404      403
POST products/<int:pk>/sources/<int:method>/up/             login     login    403     302     302   404      403
GET  products/<int:pk>/sources/<int:method>/remove/         login     login    403     200     200   404      403
POST products/<int:pk>/sources/<int:method>/remove/         login     login    403     302     302   404      403

GET  test-order/                                            login     login    403     200     200   200      403
POST test-order/                                            login     login    403     302     302   200      403
GET  test-order/<reference:number>/                         login     login    403     200     200   404      403
GET  test-order/<reference:number>/emails/<int:pk>/         login     login    403     200     200   404      403

GET  setup/                                                 login     login    403     200     200   200      403
GET  setup/add/                                             login     login    403     200     200   200      403
POST setup/add/                                             login     login    403     302     302   302      403
GET  setup/<int:pk>/withdraw/                               login     login    403     200     200   404      403
POST setup/<int:pk>/withdraw/                               login     login    403     302     302   404      403

GET  emails/                                                login     login    403     200     200   200      403
GET  emails/server/                                         login     login    403     200     200   200      403
POST emails/server/                                         login     login    403     200     200   200      403
GET  emails/server/remove/                                  login     login    403     200     200   404      403
POST emails/server/remove/                                  login     login    403     302     302   404      403
GET  emails/sender/                                         login     login    403     200     200   200      403
POST emails/sender/                                         login     login    403     302     302   302      403
GET  emails/texts/<slug:scope>/<slug:language>/             login     login    403     200     200   404      403
POST emails/texts/<slug:scope>/<slug:language>/             login     login    403     302     302   404      403
GET  emails/texts/<slug:scope>/<slug:language>/picture/     login     login    403     200     200   404      403
GET  emails/texts/<slug:scope>/<slug:language>/preview/     login     login    403     200     200   404      403
POST emails/texts/<slug:scope>/<slug:language>/preview/     login     login    403     200     200   404      403
POST emails/texts/<slug:scope>/<slug:language>/test/        login     login    403     200     200   404      403
GET  emails/texts/<slug:scope>/<slug:language>/reset/       login     login    403     200     200   404      403
POST emails/texts/<slug:scope>/<slug:language>/reset/       login     login    403     302     302   404      403
GET  emails/texts/<slug:scope>/<slug:language>/versions/    login     login    403     200     200   404      403
GET  emails/texts/<slug:scope>/<slug:language>/restore/<slug:version>/ login login 403  200     200   404      403
POST emails/texts/<slug:scope>/<slug:language>/restore/<slug:version>/ login login 403  302     302   404      403

GET  webhooks/                                              login     login    403     200     200   200      403
GET  webhooks/add/                                          login     login    403     200     200   200      403
POST webhooks/add/                                          login     login    403     302     302   302      403
GET  webhooks/<int:pk>/                                     login     login    403     200     200   404      403
GET  webhooks/<int:pk>/change/                              login     login    403     200     200   404      403
POST webhooks/<int:pk>/change/                              login     login    403     302     302   404      403
GET  webhooks/<int:pk>/secret/                              login     login    403     405     405   404      403
POST webhooks/<int:pk>/secret/                              login     login    403     200     200   404      403
GET  webhooks/<int:pk>/rotate/                              login     login    403     200     200   404      403
POST webhooks/<int:pk>/rotate/                              login     login    403     302     302   404      403
GET  webhooks/<int:pk>/test/                                login     login    403     200     200   404      403
POST webhooks/<int:pk>/test/                                login     login    403     302     302   404      403
GET  webhooks/<int:pk>/enable/                              login     login    403     405     405   404      403
POST webhooks/<int:pk>/enable/                              login     login    403     302     302   404      403
GET  webhooks/<int:pk>/disable/                             login     login    403     200     200   404      403
POST webhooks/<int:pk>/disable/                             login     login    403     302     302   404      403
GET  webhooks/<int:pk>/delete/                              login     login    403     200     200   404      403
POST webhooks/<int:pk>/delete/                              login     login    403     302     302   404      403
GET  webhooks/<int:pk>/send-failed/                         login     login    403     200     200   404      403
POST webhooks/<int:pk>/send-failed/                         login     login    403     302     302   404      403
GET  webhooks/<int:pk>/messages/<int:message>/send/         login     login    403     200     200   404      403
POST webhooks/<int:pk>/messages/<int:message>/send/         login     login    403     302     302   404      403

GET  shops/                                                 login     login    403     200     200   200      403
GET  shops/connect/                                         login     login    403     200     200   200      403
GET  shops/connect/<slug:kind>/                             login     login    403     200     200   200      403
POST shops/connect/<slug:kind>/                             login     login    403     302     302   302      403
GET  shops/<int:pk>/                                        login     login    403     200     200   404      403
GET  shops/<int:pk>/start/                                  login     login    403     200     200   404      403
GET  shops/<int:pk>/change/                                 login     login    403     200     200   404      403
POST shops/<int:pk>/change/                                 login     login    403     302     302   404      403
GET  shops/<int:pk>/secret/                                 login     login    403     200     200   404      403
POST shops/<int:pk>/secret/                                 login     login    403     302     302   404      403
GET  shops/<int:pk>/url/                                    login     login    403     200     200   404      403
POST shops/<int:pk>/url/                                    login     login    403     302     302   404      403
GET  shops/<int:pk>/disable/                                login     login    403     200     200   404      403
POST shops/<int:pk>/disable/                                login     login    403     302     302   404      403
GET  shops/<int:pk>/remove/                                 login     login    403     200     200   404      403
POST shops/<int:pk>/remove/                                 login     login    403     302     302   404      403
GET  shops/<int:pk>/sample/                                 login     login    403     200     200   404      403
POST shops/<int:pk>/sample/                                 login     login    403     302     302   404      403
GET  shops/<int:pk>/try/                                    login     login    403     404     404   404      403
POST shops/<int:pk>/try/                                    login     login    403     404     404   404      403
GET  shops/<int:pk>/fetch/                                  login     login    403     404     404   404      403
POST shops/<int:pk>/fetch/                                  login     login    403     404     404   404      403
GET  shops/<int:pk>/process/                                login     login    403     200     200   404      403
POST shops/<int:pk>/process/                                login     login    403     302     302   404      403
GET  shops/<int:pk>/products/add/                           login     login    403     200     200   404      403
POST shops/<int:pk>/products/add/                           login     login    403     302     302   404      403
GET  shops/<int:pk>/products/<int:external>/                login     login    403     200     200   404      403
POST shops/<int:pk>/products/<int:external>/                login     login    403     302     302   404      403
GET  shops/<int:pk>/events/<int:event>/process/             login     login    403     200     200   404      403
POST shops/<int:pk>/events/<int:event>/process/             login     login    403     302     302   404      403
GET  shops/<int:pk>/events/<int:event>/address/             login     login    403     200     200   404      403
POST shops/<int:pk>/events/<int:event>/address/             login     login    403     302     302   404      403
GET  shops/<int:pk>/enable/                                 login     login    403     405     405   404      403
POST shops/<int:pk>/enable/                                 login     login    403     302     302   404      403
GET  shops/<int:pk>/products/                               login     login    403     200     200   404      403
GET  shops/<int:pk>/events/<int:event>/                     login     login    403     200     200   404      403

GET  licensing-accounts/                                    login     login    403     200     200   200      403
GET  licensing-accounts/add/                                login     login    403     200     200   200      403
POST licensing-accounts/add/                                login     login    403     302     302   302      403
GET  licensing-accounts/<int:pk>/                           login     login    403     200     200   404      403
GET  licensing-accounts/<int:pk>/change/                    login     login    403     200     200   404      403
POST licensing-accounts/<int:pk>/change/                    login     login    403     302     302   404      403
GET  licensing-accounts/<int:pk>/test/                      login     login    403     405     405   404      403
POST licensing-accounts/<int:pk>/test/                      login     login    403     302     302   404      403
GET  licensing-accounts/<int:pk>/retry-failed/              login     login    403     200     200   404      403
POST licensing-accounts/<int:pk>/retry-failed/              login     login    403     302     302   404      403
GET  licensing-accounts/<int:pk>/delete/                    login     login    403     200     200   404      403
POST licensing-accounts/<int:pk>/delete/                    login     login    403     302     302   404      403
GET  licensing-accounts/<int:pk>/requests/<int:request_pk>/ login     login    403     200     200   404      403
GET  licensing-accounts/<int:pk>/packages/add/              login     login    403     200     200   404      403
POST licensing-accounts/<int:pk>/packages/add/              login     login    403     302     302   404      403
GET  licensing-accounts/<int:pk>/packages/<int:package>/    login     login    403     200     200   404      403
POST licensing-accounts/<int:pk>/packages/<int:package>/    login     login    403     302     302   404      403
GET  licensing-accounts/<int:pk>/packages/<int:package>/delete/ login login    403     200     200   404      403
POST licensing-accounts/<int:pk>/packages/<int:package>/delete/ login login    403     302     302   404      403

GET  web-services/                                          login     login    403     200     200   200      403
GET  web-services/add/                                      login     login    403     200     200   200      403
POST web-services/add/                                      login     login    403     302     302   302      403
GET  web-services/<int:pk>/                                 login     login    403     200     200   404      403
GET  web-services/<int:pk>/change/                          login     login    403     200     200   404      403
POST web-services/<int:pk>/change/                          login     login    403     302     302   404      403
GET  web-services/<int:pk>/parameters/                      login     login    403     200     200   404      403
POST web-services/<int:pk>/parameters/                      login     login    403     302     302   404      403
GET  web-services/<int:pk>/secret/                          login     login    403     405     405   404      403
POST web-services/<int:pk>/secret/                          login     login    403     200     200   404      403
GET  web-services/<int:pk>/rotate/                          login     login    403     200     200   404      403
POST web-services/<int:pk>/rotate/                          login     login    403     302     302   404      403
GET  web-services/<int:pk>/delete/                          login     login    403     200     200   404      403
POST web-services/<int:pk>/delete/                          login     login    403     302     302   404      403
GET  web-services/<int:pk>/retry-failed/                    login     login    403     200     200   404      403
POST web-services/<int:pk>/retry-failed/                    login     login    403     302     302   404      403
GET  web-services/<int:pk>/requests/<int:request_pk>/       login     login    403     200     200   404      403
GET  web-services/<int:pk>/requests/<int:request_pk>/send/  login     login    403     200     200   404      403
POST web-services/<int:pk>/requests/<int:request_pk>/send/  login     login    403     302     302   404      403
GET  web-services/<int:pk>/console/                         login     login    403     200     200   404      403
POST web-services/<int:pk>/console/                         login     login    403     200     200   404      403

GET  licensing/                                              login     login    200     200     200   200      403
POST licensing/                                              login     login    302     302     302   200      403
GET  licensing/licensees/add/                                login     login    403     200     200   200      403
POST licensing/licensees/add/                                login     login    403     302     302   200      403
GET  licensing/licensees/<int:pk>/                           login     login    200     200     200   404      403
GET  licensing/licensees/<int:pk>/number/                    login     login    405     405     405   404      403
POST licensing/licensees/<int:pk>/number/                    login     login    200     200     200   404      403
GET  licensing/licensees/<int:pk>/change/                    login     login    403     200     200   404      403
POST licensing/licensees/<int:pk>/change/                    login     login    403     302     302   404      403
GET  licensing/licensees/<int:pk>/activate/                  login     login    403     200     200   404      403
POST licensing/licensees/<int:pk>/activate/                  login     login    403     302     302   404      403
GET  licensing/licensees/<int:pk>/deactivate/                login     login    403     200     200   404      403
POST licensing/licensees/<int:pk>/deactivate/                login     login    403     302     302   404      403
GET  licensing/licensees/<int:pk>/mark/                      login     login    403     200     200   404      403
POST licensing/licensees/<int:pk>/mark/                      login     login    403     302     302   404      403
GET  licensing/licensees/<int:pk>/unmark/                    login     login    403     200     200   404      403
POST licensing/licensees/<int:pk>/unmark/                    login     login    403     302     302   404      403
GET  licensing/licensees/<int:pk>/transfer/                  login     login    403     200     200   404      403
POST licensing/licensees/<int:pk>/transfer/                  login     login    403     302     302   404      403
GET  licensing/licensees/<int:pk>/licenses/add/              login     login    403     200     200   404      403
POST licensing/licensees/<int:pk>/licenses/add/              login     login    403     302     302   404      403
GET licensing/licensees/<int:pk>/licenses/<int:license>/change/ login login 403 200 200 404 403
POST licensing/licensees/<int:pk>/licenses/<int:license>/change/ login login 403 302 302 404 403
GET licensing/licensees/<int:pk>/licenses/<int:license>/activate/ login login 403 200 200 404 403
POST licensing/licensees/<int:pk>/licenses/<int:license>/activate/ login login 403 302 302 404 403
GET licensing/licensees/<int:pk>/licenses/<int:license>/deactivate/ login login 403 200 200 404 403
POST licensing/licensees/<int:pk>/licenses/<int:license>/deactivate/ login login 403 302 302 404 403
GET  licensing/products/                                     login     login    403     200     200   200      403
GET  licensing/products/add/                                 login     login    403     200     200   200      403
POST licensing/products/add/                                 login     login    403     302     302   302      403
GET  licensing/products/<int:pk>/                            login     login    403     200     200   404      403
GET  licensing/products/<int:pk>/change/                     login     login    403     200     200   404      403
POST licensing/products/<int:pk>/change/                     login     login    403     302     302   404      403
GET  licensing/products/<int:pk>/remove/                     login     login    403     200     200   404      403
POST licensing/products/<int:pk>/remove/                     login     login    403     302     302   404      403
GET  licensing/products/<int:pk>/modules/add/                login     login    403     200     200   404      403
POST licensing/products/<int:pk>/modules/add/                login     login    403     302     302   404      403
GET  licensing/modules/<int:pk>/change/                      login     login    403     200     200   404      403
POST licensing/modules/<int:pk>/change/                      login     login    403     302     302   404      403
GET  licensing/modules/<int:pk>/remove/                      login     login    403     200     200   404      403
POST licensing/modules/<int:pk>/remove/                      login     login    403     302     302   404      403
GET  licensing/modules/<int:pk>/templates/add/               login     login    403     200     200   404      403
POST licensing/modules/<int:pk>/templates/add/               login     login    403     302     302   404      403
GET  licensing/templates/<int:pk>/change/                    login     login    403     200     200   404      403
POST licensing/templates/<int:pk>/change/                    login     login    403     302     302   404      403
GET  licensing/templates/<int:pk>/remove/                    login     login    403     200     200   404      403
POST licensing/templates/<int:pk>/remove/                    login     login    403     302     302   404      403
GET  licensing/access/                                       login     login    403     403     200   200      403
GET  licensing/access/logins/add/                            login     login    403     403     200   200      403
POST licensing/access/logins/add/                            login     login    403     403     200   200      403
GET  licensing/access/logins/<int:pk>/revoke/                login     login    403     403     200   404      403
POST licensing/access/logins/<int:pk>/revoke/                login     login    403     403     302   404      403
GET  licensing/access/keys/add/                              login     login    403     403     200   200      403
POST licensing/access/keys/add/                              login     login    403     403     200   200      403
GET  licensing/access/keys/<int:pk>/revoke/                  login     login    403     403     200   404      403
POST licensing/access/keys/<int:pk>/revoke/                  login     login    403     403     302   404      403

GET  team/                                                  login     login    403     403     200   200      403
GET  team/invite/                                           login     login    403     403     200   200      403
POST team/invite/                                           login     login    403     403     302   302      403
GET  team/members/<int:pk>/role/                            login     login    403     403     200   404      403
POST team/members/<int:pk>/role/                            login     login    403     403     302   404      403
GET  team/members/<int:pk>/remove/                          login     login    403     403     200   404      403
POST team/members/<int:pk>/remove/                          login     login    403     403     302   404      403
POST team/invitations/<int:pk>/send/                        login     login    403     403     302   404      403
GET  team/invitations/<int:pk>/withdraw/                    login     login    403     403     200   404      403
POST team/invitations/<int:pk>/withdraw/                    login     login    403     403     302   404      403
GET  team/second-factor/on/                                 login     login    403     403     200   200      403
POST team/second-factor/on/                                 login     login    403     403     302   302      403
GET  team/second-factor/off/                                login     login    403     403     200   200      403
POST team/second-factor/off/                                login     login    403     403     302   302      403
GET  api-keys/                                              login     login    403     403     200   200      403
GET  api-keys/add/                                          login     login    403     403     200   200      403
POST api-keys/add/                                          login     login    403     403     200   200      403
GET  api-keys/<int:pk>/change/                              login     login    403     403     200   404      403
POST api-keys/<int:pk>/change/                              login     login    403     403     302   404      403
GET  api-keys/<int:pk>/revoke/                              login     login    403     403     200   404      403
POST api-keys/<int:pk>/revoke/                              login     login    403     403     302   404      403
GET  checkout-pages/                                        login     login    403     403     200   200      403
GET  checkout-pages/add/                                    login     login    403     403     200   200      403
POST checkout-pages/add/                                    login     login    403     403     302   302      403
GET  checkout-pages/<int:pk>/change/                        login     login    403     403     200   404      403
POST checkout-pages/<int:pk>/change/                        login     login    403     403     302   404      403
GET  checkout-pages/<int:pk>/remove/                        login     login    403     403     200   404      403
POST checkout-pages/<int:pk>/remove/                        login     login    403     403     302   404      403
GET  invitations/                                           404       404      404     404     404   404      404
GET  invitations/<str:token>/                               302       302      302     302     302   302      302

GET  logos/<str:digest>.png                                 404       404      404     404     404   404      404
GET  o/<str:token>/                                         404       200      404     404     404   404      404
POST o/<str:token>/                                         404       200      404     404     404   404      404
GET  in/<str:token>/                                         404       404      404     404     404   404      404
POST in/<str:token>/                                         404       404      404     404     404   404      404
GET  in/<str:token>                                          404       404      404     404     404   404      404
POST in/<str:token>                                          404       404      404     404     404   404      404
GET  lost/<slug:slug>/                                      200       200      200     200     200   200      200
POST lost/<slug:slug>/                                      200       200      200     200     200   200      200
GET  upload/<str:token>/                                    404       404      404     404     404   404      404
POST upload/<str:token>/                                    404       404      404     404     404   404      404
GET  uploaded/<str:token>/                                  404       404      404     404     404   404      404
POST uploaded/<str:token>/                                  404       404      404     404     404   404      404
GET  anymail/<str:provider>/tracking/                       405       405      405     405     405   405      405
POST anymail/<str:provider>/tracking/                       403       403      403     403     403   403      403
GET  anymail/<slug:merchant>/<str:provider>/tracking/       405       405      405     405     405   405      405
POST anymail/<slug:merchant>/<str:provider>/tracking/       403       403      403     403     403   403      403
GET  healthz                                                200       200      200     200     200   200      200
GET  metrics                                                200       200      200     200     200   200      200
GET  mailbox/                                               404       404      404     404     404   404      404
GET  mailbox/<slug:name>/                                   404       404      404     404     404   404      404
GET  mailbox/<slug:name>/html/                              404       404      404     404     404   404      404

GET  accounts/login/                                        200       200      302     302     302   302      302
GET  accounts/logout/                                       login     login    200     200     200   200      200
GET  accounts/inactive/                                     200       200      200     200     200   200      200
GET  accounts/reauthenticate/                               login     login    200     200     200   200      200
GET  accounts/password/change/                              login     login    200     200     200   200      200
GET  accounts/password/set/                                 login     login    302     302     302   302      302
GET  accounts/password/reset/                               200       200      200     200     200   200      200
GET  accounts/password/reset/done/                          200       200      200     200     200   200      200
GET  accounts/password/reset/key/done/                      200       200      200     200     200   200      200
GET  accounts/password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$ 200 200 200 200 200 200 200
GET  accounts/language/                                     login     login    200     200     200   200      200
POST accounts/language/                                     login     login    302     302     302   302      302
GET  accounts/2fa/                                          login     login    200     200     200   200      200
GET  accounts/2fa/authenticate/                             login     login    302     302     302   302      302
GET  accounts/2fa/reauthenticate/                           login     login    302     302     302   302      302
GET  accounts/2fa/totp/activate/                            login     login    302     302     302   302      302
GET  accounts/2fa/totp/deactivate/                          login     login    404     404     404   404      404
GET  accounts/2fa/recovery-codes/                           login     login    404     404     404   404      404
GET  accounts/2fa/recovery-codes/generate/                  login     login    302     302     302   302      302
GET  accounts/2fa/recovery-codes/download/                  login     login    404     404     404   404      404
GET  accounts/2fa/webauthn/                                 login     login    200     200     200   200      200
GET  accounts/2fa/webauthn/add/                             login     login    302     302     302   302      302
GET  accounts/2fa/webauthn/reauthenticate/                  login     login    302     302     302   302      302
GET  accounts/2fa/webauthn/keys/<int:pk>/remove/            login     login    302     302     302   302      302
GET  accounts/2fa/webauthn/keys/<int:pk>/edit/              login     login    302     302     302   302      302
GET  accounts/2fa/webauthn/login/                           login     login    302     302     302   302      302
"""

# The API. Columns: no credentials, a session of the pages, and API keys: the merchant's with all scopes, without
# scopes, revoked, and another merchant's.
API = """
                                                                           nobody session own limited revoked outsider
GET  api/schema/                                                           200    200     200 200     200     200
GET  api/docs/                                                             200    200     200 200     200     200
GET  api/docs/<slug:name>/                                                 404    404     404 404     404     404
GET  api/v1/.*[^/]$                                                        404    404     404 404     404     404
POST api/v1/payments/                                                      401    401     200 403     401     202
GET  api/v1/orders/                                                        401    401     200 403     401     200
GET  api/v1/orders/<reference:number>/                                     401    401     200 403     401     404
PUT  api/v1/orders/<reference:number>/address/                             401    401     200 403     401     404
POST api/v1/orders/<reference:number>/link/                                401    401     200 403     401     404
DELETE api/v1/orders/<reference:number>/link/                              401    401     200 403     401     404
POST api/v1/orders/<reference:number>/refund/                              401    401     200 403     401     404
POST api/v1/orders/<reference:number>/items/<reference:reference>/resend/  401    401     202 403     401     404
GET  api/v1/pools/                                                         401    401     200 403     401     200
POST api/v1/pools/<int:pk>/keys/                                           401    401     201 403     401     404
GET  api/v1/pools/<int:pk>/                                                401    401     200 403     401     404
POST api/v1/pools/<int:pk>/imports/                                        401    401     201 403     401     404
GET  api/v1/pools/<int:pk>/imports/<int:number>/                           401    401     200 403     401     404
DELETE api/v1/pools/<int:pk>/imports/<int:number>/                         401    401     204 403     401     404
POST api/v1/pools/<int:pk>/imports/<int:number>/confirm/                   401    401     200 403     401     404
GET  api/v1/pools/<int:pk>/batches/                                        401    401     200 403     401     404
POST api/v1/pools/<int:pk>/batches/<int:number>/undo/                      401    401     409 403     401     404
POST api/v1/pools/<int:pk>/batches/<int:number>/withdraw/                  401    401     200 403     401     404
"""

# Admin pages that any staff user may open, because they show no orders.
OPEN = {
    ("staff without rights", f"admin/{page}")
    for page in ("", "status/", "search/", "login/", "logout/", "jsi18n/", "password_change/", "password_change/done/")
}

ENDPOINT = {"url": "https://93.184.216.34/hook", "events": ["order.paid"]}

SERVICE = {
    **{"name": "Spare", "url": "https://93.184.216.34/keys", "format": "form", "request_per": "unit", "timeout": "15"},
    **{"login": "none", "answer": "body"},
}

PACKAGE = {"name": "Spare", "product_number": "P-1", "start_date": "none", "template_0": "E-1", "quantity_0": "1"}

# Valid form data for the routes that need it.
FORMS = {
    "accounts/language/": {"language": "en", "time_zone": "Europe/Berlin"},
    "orders/": {"search": "A0012345678"},
    "orders/<reference:number>/address/": {"email": "ada@byron.example"},
    "orders/<reference:number>/address/resend/": {"email": "ada@byron.example"},
    "orders/<reference:number>/refund/": {"amount": "1.00", "left": "119.96"},
    "orders/<reference:number>/items/<int:item>/codes/": {"unit_1": "ENTERED-BY-HAND"},
    "pools/add/": {"name": "Spare", "threshold": "1", "reserve": "0"},
    "pools/<int:pk>/settings/": {"name": "Renamed", "threshold": "1", "reserve": "0"},
    "products/add/": {"name": "Photo Max", "sku": "PHOTO-MAX", "quantity_rule": "unit"},
    "products/<int:pk>/change/": {"name": "Photo Max", "sku": "PHOTO-MAX", "quantity_rule": "unit"},
    "products/<int:pk>/sources/": {"source": "manual"},
    "pools/<int:pk>/import/": {"text": "AAAA-NEW"},
    "setup/add/": {"products": "LITE Photo Lite", "pool_name": "Lite", "quantity_rule": "unit", "threshold": "10"},
    "emails/sender/": {"reply_to": "help@northlight.example"},
    "emails/texts/<slug:scope>/<slug:language>/": {"subject": "Yours", "body": "{KEY}"},
    "emails/texts/<slug:scope>/<slug:language>/preview/": {"subject": "Yours", "body": "{KEY}"},
    "emails/texts/<slug:scope>/<slug:language>/test/": {"subject": "Yours", "body": "{KEY}"},
    "licensing-accounts/add/": {"name": "Spare", "place": "own", "timeout": "10"},
    "licensing-accounts/<int:pk>/change/": {"name": "Spare", "place": "own", "timeout": "10"},
    "licensing-accounts/<int:pk>/packages/add/": PACKAGE,
    "licensing-accounts/<int:pk>/packages/<int:package>/": PACKAGE,
    "web-services/add/": SERVICE,
    "web-services/<int:pk>/change/": SERVICE,
    "shops/connect/<slug:kind>/": {"name": "Spare", "option_paid_status": "completed"},
    "shops/<int:pk>/change/": {"name": "Renamed", "option_paid_status": "completed"},
    "shops/<int:pk>/secret/": {"secret": "whsec_new"},
    "shops/<int:pk>/products/add/": {"external_id": "SPARE", "ignored": "on"},
    "shops/<int:pk>/products/<int:external>/": {"ignored": "on"},
    "shops/<int:pk>/events/<int:event>/address/": {"email": "ada@byron.example"},
    "webhooks/add/": ENDPOINT,
    "webhooks/<int:pk>/change/": ENDPOINT,
    "licensing/": {"search": "LICENSEE-7Q2M"},
    "licensing/licensees/<int:pk>/transfer/": {"direction": "to", "number": "PERMANENT"},
    "licensing/licensees/<int:pk>/licenses/<int:license>/change/": {"name": "Year"},
    "licensing/products/add/": {"name": "Photo"},
    "licensing/products/<int:pk>/change/": {"name": "Photo"},
    "licensing/products/<int:pk>/modules/add/": {"name": "Pro", "licensing_model": "Subscription"},
    "licensing/modules/<int:pk>/change/": {"name": "Pro", "licensing_model": "Subscription"},
    "licensing/modules/<int:pk>/templates/add/": {"name": "Raw", "license_type": "FEATURE"},
    "licensing/templates/<int:pk>/change/": {"name": "Raw", "license_type": "FEATURE"},
    "licensing/access/logins/add/": {"name": "shop"},
    "licensing/access/keys/add/": {"name": "Installer", "role": "ROLE_APIKEY_LICENSEE"},
    "api-keys/add/": {"name": "Spare", "scopes": "orders"},
    "api-keys/<int:pk>/change/": {"name": "Renamed"},
    "checkout-pages/add/": {"code": "spare"},
    "checkout-pages/<int:pk>/change/": {"code": "main", "name": "Renamed"},
    "team/invite/": {"email": "new@northlight.example", "role": "support"},
    "team/members/<int:pk>/role/": {"role": "manager"},
}
BODIES = {
    "api/v1/orders/<reference:number>/address/": {"email": "ada@byron.example"},
    "api/v1/orders/<reference:number>/refund/": {"amount": "1.00"},
    "api/v1/pools/<int:pk>/keys/": {"text": "AAAA-NEW"},
    "api/v1/pools/<int:pk>/imports/": {"text": "AAAA-NEW"},
}


def rows(table):
    columns, *lines = [line.split() for line in table.strip().splitlines() if line.strip()]
    return [(method, route.removeprefix("/"), dict(zip(columns, rest, strict=True))) for method, route, *rest in lines]


@pytest.fixture(autouse=True)
def without_attention_count(monkeypatch):
    """Skip the count of orders that need attention: every page shows it, and its query is slower than most pages."""
    monkeypatch.setattr("portal.navigation.count_needing_attention", lambda merchant, most: 0)


@pytest.fixture
def world(pay, make_payment, make_product, make_member, merchant, outsider, api):
    """An order with a code and an item that waits for one, a user of each kind, and other objects that URLs need."""
    payment = make_payment(make_product(name="Photo Pro"), make_product(source="manual"), order="A0012345678")
    assert api.post("/api/v1/payments/", payment, format="json").status_code == 201
    order = Order.objects.get()
    owner = merchant.members.get().user
    colleague = make_member(Member.Role.SUPPORT, first_name="Cora")
    MailAccount.objects.create(
        merchant=merchant, kind="postmark", credentials='{"password": "", "tracking_secret": ""}'
    )
    invitation, _ = invite(merchant, email="guest@northlight.example", role=Member.Role.SUPPORT, actor=owner)
    endpoint = WebhookEndpoint.objects.create(
        merchant=merchant, url="https://shop.example/", events=["order.paid"], secret=WebhookEndpoint.make_secret()
    )
    service = WebService.objects.create(merchant=merchant, name="Gen", url="https://shop.example/", secret="whsec_")
    outgoing_request = OutgoingRequest.objects.create(
        merchant=merchant, upstream=service, item=order.items.latest("pk"), method="POST", url=service.url
    )
    held_item = {"item": order.items.latest("pk"), "unit": 1, "code": "ERROR: unknown"}
    held = HeldCode.objects.create(source="web_service", upstream=service, **held_item)
    # While it is failing, the forms don't request its products and templates.
    account = merchant.licensing_accounts.create(
        name="Vendor", address="http://127.0.0.1:9", api_key="x", failing_since=Now()
    )
    package = merchant.license_packages.create(account=account, name="Pro", product_number="P-1")
    shop = connect(merchant, "woocommerce")
    event = shop.events.create(key="1", body=b"{}", state="parked", cause="address", due_at=None)
    external = shop.external_products.create(external_id="PHOTO")
    people = {
        "anonymous": None,
        "customer": None,
        "support": make_member(Member.Role.SUPPORT).user,
        "manager": make_member(Member.Role.MANAGER).user,
        "owner": owner,
        "outsider": outsider.members.get().user,
        "staff": User.objects.create_superuser("stella@keywell.example", "correct horse"),
    }
    values = {
        "number": order.number,
        "code": ActivationCode.objects.get().pk,
        "item": order.items.get(product__fulfillment_methods__source="manual").pk,
        "reference": "1",
        "token": "unknown",
        "name": "unknown",
        "digest": "unknown",
        "scope": order.items.earliest("pk").product_id,
        "language": "de",
        "version": "default",
        "slug": "northlight",
        "provider": "postmark",
        "merchant": merchant.slug,
        "uidb36": "1",
        "key": "x",
        "pk": colleague.pk,
        "message": send_test(endpoint).pk,
        "request_pk": outgoing_request.pk,
        "held": held.pk,
        "package": package.pk,
        "kind": "woocommerce",
        "event": event.pk,
        "external": external.pk,
    }
    test_form = {
        "product": order.items.earliest("pk").product,
        "quantity": 1,
        "recipient": merchant.members.get(user=owner),
        "checkout_page": merchant.checkout_pages.get(code="main"),
        "language": "en",
    }
    test_order = send_test_order(merchant, **test_form | {"recipient": owner}, actor="test")
    licensing_pks = make_licensing(merchant)
    values["license"] = licensing_pks["license"]
    delivery = Delivery.objects.filter(order=order).earliest("pk")
    Delivery.objects.filter(pk=delivery.pk).update(sent_at=Now())
    values["delivery"] = delivery.pk
    return SimpleNamespace(
        order=order,
        licensing=licensing_pks,
        forms=FORMS
        | {
            "licensing/licensees/add/": {"product": licensing_pks["products"]},
            "licensing/licensees/<int:pk>/licenses/add/": {"template": licensing_pks["templates"]},
            "shops/<int:pk>/sample/": {"product": order.items.earliest("pk").product.sku, "quantity": 1},
            "test-order/": {name: getattr(value, "pk", value) for name, value in test_form.items()},
        },
        payment=payment,
        test_order=test_order,
        people=people,
        values=values,
        invitation=invitation,
        setup_request=submit(merchant, [], actor=owner, products=[], pool_name="Lite"),
        endpoint=endpoint,
        shop=shop,
        service=service,
        account=account,
        account_request=account.outgoing_requests.create(merchant=merchant, method="GET", url=account.url),
        key_import=begin(merchant.pools.get(), [b"AAAA-NEW"], actor="test"),
        batch=KeyBatch.objects.get(),
        merchant=merchant,
        pool=merchant.pools.get(),
    )


def make_licensing(merchant):
    """Create a licensee with a license, a transfer target, a login and a key. Return primary keys by URL segment."""
    product = licensing.LicensingProduct.objects.create(merchant=merchant, name="Photo")
    common_fields = {"merchant": merchant, "name": "Pro"}
    module = licensing.ProductModule.objects.create(product=product, licensing_model="Subscription", **common_fields)
    template = licensing.LicenseTemplate.objects.create(module=module, license_type="FEATURE", **common_fields)
    licensee = create_licensee(product, actor="test", number="LICENSEE-7Q2M", marked_for_transfer=True)
    create_licensee(product, actor="test", number="PERMANENT")
    key = {"token_type": "APIKEY", "api_key_role": "ROLE_APIKEY_LICENSEE"}
    return {
        "products": product.pk,
        "modules": module.pk,
        "templates": template.pk,
        "licensees": licensee.pk,
        "license": create_license(licensee, template, actor="test").pk,
        "logins": licensing.VendorLogin.objects.create_login(merchant, "server")[0].pk,
        "keys": licensing.Token.objects.create(**key, **common_fields).pk,
    }


def values_for(world, route, who):
    values = dict(world.values)
    if "invitations/<int:pk>" in route:
        values["pk"] = world.invitation.pk
    if route.startswith("attention/"):
        values |= {"slug": f"shop-{world.shop.pk}-address", "thing": world.shop.events.get().pk}
    if route.startswith("pools/"):
        values["pk"] = world.merchant.pools.get().pk
    if route.startswith("api-keys/"):
        values["pk"] = world.merchant.api_keys.earliest("pk").pk
    if route.startswith("checkout-pages/"):
        values["pk"] = world.merchant.checkout_pages.get(code="main").pk
    if route.startswith("test-order/"):
        values |= {"number": world.test_order.number, "pk": world.test_order.deliveries.get().pk}
    if route.startswith("setup/"):
        values["pk"] = world.setup_request.pk
    if route.startswith("shops/"):
        values["pk"] = world.shop.pk
    if route.startswith("webhooks/"):
        values["pk"] = world.endpoint.pk
    if route.startswith("web-services/"):
        values["pk"] = world.service.pk
    if route.startswith("licensing-accounts/"):
        values |= {"pk": world.account.pk, "request_pk": world.account_request.pk}
    if route.startswith(("api/v1/pools/", "pools/")):
        values |= {"pk": world.pool.pk, "key": world.pool.keys.available().earliest("pk").pk}
        values["number"] = (world.batch if "batches" in route else world.key_import).pk
    if route.startswith("products/"):
        method = world.pool.fulfillment_methods.get()
        values |= {"pk": method.product_id, "method": method.pk}
    if route.startswith("licensing/"):
        for_merchant = route.partition("/<int:pk>")[0].rpartition("/")[2]
        values["pk"] = world.licensing.get(for_merchant, 0)
    if route.startswith("o/") and who == "customer":
        values["token"] = world.order.link_token
    return values


def request_outcome(client, method, address, body, **options):
    """Send a request, roll back its changes, and return the status, or "login" for a redirect to the sign-in page."""
    with transaction.atomic():
        response = (
            client.get(address) if method == "GET" else getattr(client, method.lower())(address, body, **options)
        )
        transaction.set_rollback(True)
    if response.status_code == 302 and response["Location"].startswith("/accounts/login/"):
        return "login"
    return str(response.status_code)


def client_for(user):
    client = Client()
    if user:
        client.force_login(user)
    return client


def test_each_visitor_gets_the_expected_response_from_each_page(world):
    clients = {who: client_for(user) for who, user in world.people.items()}
    wrong = {}
    for method, route, expected in rows(PAGES):
        for who, client in clients.items():
            address = fill(route, values_for(world, route, who))
            outcome = request_outcome(client, method, address, world.forms.get(route, {}))
            if outcome != expected[who]:
                wrong[method, route, who] = f"{outcome}, not {expected[who]}"

    assert wrong == {}


def test_each_key_gets_the_expected_response_from_the_api(world, make_api, merchant, outsider):
    session = APIClient()
    session.force_login(world.people["owner"])
    revoked = make_api(merchant)
    ApiKey.objects.filter(pk=ApiKey.objects.latest("pk").pk).update(revoked_at=Now())
    clients = {
        "nobody": APIClient(),
        "session": session,
        "own": make_api(merchant),
        "limited": make_api(merchant, scopes=[]),
        "revoked": revoked,
        "outsider": make_api(outsider),
    }
    wrong = {}
    for method, route, expected in rows(API):
        body = world.payment if route == "api/v1/payments/" else BODIES.get(route, {})
        options = {} if route.endswith(("/keys/", "/imports/")) else {"format": "json"}
        for who, client in clients.items():
            outcome = request_outcome(client, method, fill(route, values_for(world, route, who)), body, **options)
            if outcome != expected[who]:
                wrong[method, route, who] = f"{outcome}, not {expected[who]}"

    assert wrong == {}


def test_only_support_staff_can_use_the_admin(world):
    people = world.people | {
        "staff without rights": User.objects.create_user("new@keywell.example", "correct horse", is_staff=True)
    }
    del people["staff"]
    clients = {who: client_for(user) for who, user in people.items()}
    values = world.values | dict.fromkeys(["object_id", "pk", "id", "content_type_id", "url"], world.order.pk)
    before = count_side_effects()
    allowed = {}
    for route in routes():
        if not route.startswith("admin/"):
            continue
        for who, client in clients.items():
            for method in ("GET", "POST"):
                outcome = request_outcome(client, method, fill(route, values | {"app_label": "orders"}), {})
                if outcome not in {"login", "302", "403", "404", "405"} and (who, route) not in OPEN:
                    allowed[who, method, route] = outcome

    assert allowed == {}
    assert count_side_effects() == before


def count_side_effects():
    """The number of rows in each table that actions on an order write to."""
    return [model.objects.count() for model in (Delivery, OrderEvent, Refund, ActivationCode, Fulfillment)]


def test_every_route_is_in_a_table():
    in_tables = {route for table in (PAGES, API) for _, route, _ in rows(table)}
    # The API identifies an item by the shop's number, the portal by our primary key, so the tables use two names.
    project_routes = {route.replace("<reference:item>", "<reference:reference>") for route in routes()}

    # The licensing service has its own table in licensing/tests/test_access.py.
    assert {route for route in project_routes if not route.startswith(("admin/", "core/v2/rest/"))} == in_tables
